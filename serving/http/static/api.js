// The desk's JSON API: one fetch wrapper, one reader of server-sent events, one kind of error.

const VIEW_AS = "refdesk.view-as";
const API_KEY = "refdesk.api-key";

/** What went wrong, in the terms of the API's problem details (RFC 9457). */
export class Problem extends Error {
  constructor({ status = 0, code = "", title = "", detail = "", hint = "", request_id: requestId = "" } = {}) {
    super(sentence(detail || title || "something went wrong"));
    Object.assign(this, { status, code, title, detail, hint, requestId });
  }
}

const sentence = (words) => words.charAt(0).toUpperCase() + words.slice(1);

const UNREACHABLE = {
  code: "unreachable",
  detail: "the desk does not answer",
  hint: "Check that it is running and that you are on the right network, then try again.",
};

/** The user whose view is shown instead of one's own, `{id, name}` or null. Lasts as long as the browser tab. */
export const viewAs = {
  get: () => JSON.parse(sessionStorage.getItem(VIEW_AS) ?? "null"),
  set: (user) => (user ? sessionStorage.setItem(VIEW_AS, JSON.stringify(user)) : sessionStorage.removeItem(VIEW_AS)),
};

/** The API key typed into the page, for desks that ask for one. Lasts as long as the browser tab. */
export const apiKey = {
  get: () => sessionStorage.getItem(API_KEY) ?? "",
  set: (key) => (key ? sessionStorage.setItem(API_KEY, key) : sessionStorage.removeItem(API_KEY)),
};

/** The token that changes carry where one is signed in; empty elsewhere. */
function csrfToken() {
  const cookies = document.cookie.split("; ").map((cookie) => cookie.split("="));
  return cookies.find(([name]) => name === "__Host-refdesk-csrf" || name === "refdesk-csrf")?.[1] ?? "";
}

let askForKey = null;

/** Says what to do when the desk answers 401: `ask` resolves once there is a new key. */
export function onUnauthorised(ask) {
  askForKey = ask;
}

/** Gets JSON. `parameters` that are empty are left out; `asMyself` asks with one's own rights in any case. */
export function get(path, parameters = {}, { signal, asMyself = false } = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== null && value !== "" && value !== false) query.append(name, value);
  }
  const suffix = query.size ? `?${query}` : "";
  return send("GET", path + suffix, undefined, { signal, asMyself });
}

let names = null;

/** Names of the sources that one may see, by id. Without them the ids are shown. */
export function sourceNames() {
  names ??= get("/sources").then(
    ({ sources }) => Object.fromEntries(sources.map(({ id, name }) => [id, name])),
    () => ({}),
  );
  return names;
}

/** Posts JSON and gets JSON. */
export function post(path, body, { signal } = {}) {
  return send("POST", path, body, { signal });
}

/** Takes a thing away. */
export function remove(path) {
  return send("DELETE", path, undefined, {});
}

/** Changes a thing by the fields that are given. */
export function patch(path, body) {
  return send("PATCH", path, body, {});
}

/**
 * Posts JSON and hands each server-sent event to `on(name, data)`.
 * Rejects with a `Problem` for an error before or within the stream, with an AbortError when stopped.
 */
export async function stream(path, body, { signal, on }) {
  const response = await call("POST", path, body, { signal, accept: "text/event-stream" });
  let finished = false;
  for await (const [name, data] of events(response.body)) {
    if (name === "error") throw new Problem(data);
    on(name, data);
    if (name === "done") finished = true;
  }
  if (!finished) {
    throw new Problem({ ...UNREACHABLE, detail: "the answer broke off: the connection ended early" });
  }
}

async function send(method, path, body, options) {
  const response = await call(method, path, body, { ...options, accept: "application/json" });
  if (response.status === 204) return null;
  return response.json();
}

async function call(method, path, body, options) {
  const response = await reach(method, path, body, options);
  if (response.ok) return response;
  if (response.status === 401 && askForKey) {
    await askForKey(Boolean(apiKey.get()));
    return call(method, path, body, options);
  }
  throw await problemOf(response);
}

async function reach(method, path, body, { signal, accept, asMyself }) {
  const headers = { Accept: accept };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (apiKey.get()) headers.Authorization = `Bearer ${apiKey.get()}`;
  if (method !== "GET" && csrfToken()) headers["X-Refdesk-CSRF"] = csrfToken();
  if (viewAs.get() && !asMyself) headers["X-Refdesk-User"] = viewAs.get().id;
  try {
    return await fetch(`/api/v1${path}`, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      cache: "no-store",
      credentials: "same-origin",
      redirect: "error",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(UNREACHABLE);
  }
}

async function problemOf(response) {
  let details = {};
  try {
    details = await response.json();
  } catch {
    // Not every proxy speaks JSON; the status says enough.
  }
  const wait = response.headers.get("Retry-After");
  const hint = details.hint || (wait ? `Try again in ${wait} s.` : "");
  const detail = details.detail || `the desk answered ${response.status}`;
  return new Problem({ ...details, detail, hint, status: response.status });
}

/** Events of a stream, by the rules of the HTML standard; several `data` lines make one text. */
async function* events(body) {
  const decoder = new TextDecoder();
  let rest = "";
  let name = "message";
  let data = [];
  for await (const bytes of chunksOf(body)) {
    const value = decoder.decode(bytes, { stream: true });
    const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (data.length) yield [name, JSON.parse(data.join("\n"))];
        name = "message";
        data = [];
      } else if (line.startsWith("event:")) name = line.slice(6).trim();
      else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
    }
  }
}

/** A stream's chunks. Safari cannot iterate over a stream by itself. */
async function* chunksOf(body) {
  const reader = body.getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    yield value;
  }
}
