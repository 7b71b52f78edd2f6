// What all pages share: who I am, view as, the colour scheme, keyboard shortcuts.

import { apiKey, get, onUnauthorised, remove, viewAs } from "./api.js";
import { fill, h, icon, isTyping } from "./dom.js";
import { initials } from "./text.js";

const byId = (id) => document.getElementById(id);

/**
 * Sets up the frame of the page.
 * `focusBox` puts the keyboard into the page's main box. Resolves to the caller, null when that is not known.
 */
export async function startShell({ focusBox }) {
  onUnauthorised(askForKey);
  setUpTheme();
  setUpShortcuts(focusBox);
  setUpPopover();
  showBanner();
  try {
    const me = await get("/whoami");
    showMe(me);
    return me;
  } catch (problem) {
    if (viewAs.get() && [401, 403, 404].includes(problem.status)) leaveViewAs();
    return null;
  }
}

function leaveViewAs() {
  viewAs.set(null);
  location.reload();
}

/* ---- who am I ---- */

function showMe(me) {
  const name = viewAs.get()?.name ?? (me.name || me.user_id);
  byId("who-avatar").textContent = initials(name);
  fill(byId("who-name"), name);
  byId("who-button").setAttribute("aria-label", `Who am I: ${name}`);
  const groups = (me.groups ?? []).map((group) => group.replace(/^group:/, ""));
  const memberships = groups.length
    ? h("ul", { class: "group-list" }, groups.map((group) => h("li", { class: "tag" }, group)))
    : h("p", { class: "quiet" }, "In no groups but everyone.");
  fill(
    byId("who-panel"),
    h("p", { class: "who-title" }, name),
    name === me.user_id ? null : h("p", { class: "quiet" }, me.user_id),
    h("h3", {}, "Groups"),
    memberships,
    h("div", { id: "view-as-part" }),
    leaving(me),
  );
  if (!byId("who-panel").hidden) offerViewAs(); // It was opened before it was known who asks.
}

/** How to leave: forget the key, or end the session. Without login there is nothing to leave. */
function leaving(me) {
  if (apiKey.get()) return h("button", { class: "text-button", type: "button", onclick: forgetKey }, "Forget the API key");
  if (me.identity !== "oidc") return null;
  return h("button", { class: "text-button", id: "sign-out", type: "button", onclick: signOut }, "Sign out");
}

function forgetKey() {
  apiKey.set("");
  viewAs.set(null);
  location.reload();
}

async function signOut(event) {
  event.target.disabled = true;
  viewAs.set(null);
  try {
    await remove("/session");
  } catch (problem) {
    event.target.disabled = false;
    event.target.after(h("p", { class: "field-error", role: "alert" }, `You are still signed in: ${problem.message}.`));
    return;
  }
  location.assign("/");
}

async function offerViewAs() {
  const part = byId("view-as-part");
  if (!part || part.childElementCount) return;
  let users;
  try {
    users = (await get("/directory/users", { limit: 1000 }, { asMyself: true })).users.filter(
      (user) => !user.disabled,
    );
  } catch {
    return; // Not everybody may see the directory; then there is nothing to switch to.
  }
  if (!users?.length || part.childElementCount) return;
  const select = h("select", { id: "view-as" });
  select.append(h("option", { value: "" }, "Myself"));
  for (const user of users) select.append(h("option", { value: user.id }, user.name || user.id));
  select.value = viewAs.get()?.id ?? "";
  select.addEventListener("change", () => {
    const user = users.find(({ id }) => id === select.value);
    viewAs.set(user ? { id: user.id, name: user.name || user.id } : null);
    location.reload();
  });
  fill(part, h("label", { for: "view-as" }, "View as"), select, h("p", { class: "quiet" }, "Shows the desk as this person sees it. Only in this tab."));
}

function showBanner() {
  const name = viewAs.get()?.name;
  const banner = byId("view-as-banner");
  banner.hidden = !name;
  if (!name) return;
  const stop = h("button", { class: "text-button", type: "button", onclick: leaveViewAs }, "Back to myself");
  fill(banner, icon("eye"), h("span", {}, "Viewing as ", h("strong", {}, name), ". You see only what this person may read."), stop);
}

function setUpPopover() {
  const button = byId("who-button");
  const panel = byId("who-panel");
  const setOpen = (open) => {
    panel.hidden = !open;
    button.setAttribute("aria-expanded", String(open));
    if (open) offerViewAs();
  };
  button.addEventListener("click", () => setOpen(panel.hidden));
  document.addEventListener("click", (event) => {
    if (!panel.hidden && !event.target.closest(".who")) setOpen(false);
  });
  panel.parentElement.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !event.relatedTarget.closest(".who")) setOpen(false);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || panel.hidden) return;
    event.stopImmediatePropagation();
    setOpen(false);
    button.focus();
  });
}

/* ---- signing in with a key ---- */

let asking = null;

function askForKey(wasRefused) {
  asking ??= new Promise((resolve) => {
    const dialog = byId("key-dialog");
    const form = byId("key-form");
    byId("key-error").textContent = wasRefused ? "This key was not accepted." : "";
    byId("key-input").value = "";
    const place = encodeURIComponent(location.pathname + location.search + location.hash);
    byId("sign-in")?.setAttribute("href", `/sign-in?next=${place}`);
    const accept = (event) => {
      event.preventDefault();
      apiKey.set(byId("key-input").value.trim());
      form.removeEventListener("submit", accept);
      dialog.close();
      asking = null;
      resolve();
    };
    form.addEventListener("submit", accept);
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    if (!dialog.open) dialog.showModal();
  });
  return asking;
}

/* ---- colour scheme ---- */

function setUpTheme() {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  byId("theme-button").addEventListener("click", () => {
    const wanted = isDark() ? "light" : "dark";
    root.dataset.theme = wanted;
    localStorage.setItem("refdesk.theme", wanted);
  });
}

/* ---- keyboard ---- */

const PLACES = { a: "/", s: "/search", d: "/documents" };

function setUpShortcuts(focusBox) {
  let wasG = false;
  byId("keys-button").addEventListener("click", () => byId("keys-dialog").showModal());
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping() || document.querySelector("dialog:modal")) return;
    if (event.key === "/") {
      event.preventDefault();
      focusBox();
    } else if (event.key === "?") {
      byId("keys-dialog").showModal();
    } else if (wasG && PLACES[event.key]) {
      location.assign(PLACES[event.key]);
    }
    wasG = event.key === "g";
  });
}

/** Moves the keyboard through `elements()` with j, k and the arrow keys up and down. */
export function walkWithKeys(elements) {
  document.addEventListener("keydown", (event) => {
    const by = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
    if (!by || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog:modal")) return;
    const all = elements();
    const at = all.indexOf(document.activeElement);
    const isArrow = event.key.startsWith("Arrow");
    if (!all.length || (isTyping() && !(isArrow && document.activeElement.matches("input[type=search]")))) return;
    if (isArrow && at < 0 && !isTyping()) return; // the arrows scroll until the list has the keyboard
    event.preventDefault();
    const next = at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + by, 0), all.length - 1);
    all[next].focus();
    all[next].scrollIntoView({ block: "nearest" });
  });
}
