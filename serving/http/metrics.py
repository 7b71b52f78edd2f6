"""Prometheus metrics of one desk, in a registry of its own."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from serving.answer import Answer

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counts and durations of requests. Labels are routes and states, never ids or users."""

    def __init__(self) -> None:
        """Start with nothing counted."""
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "refdesk_requests", "Requests.", ["method", "route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "refdesk_request_seconds",
            "Time from a request to the end of its reply.",
            ["method", "route"],
            buckets=_BUCKETS_S,
            registry=self._registry,
        )

        self._answers = Counter(
            "refdesk_answers",
            "Answers by what wrote them, and why extracts stand in for the model (empty: they do not).",
            ["generator", "abstained", "fallback_reason"],
            registry=self._registry,
        )
        self._tokens = Counter(
            "refdesk_tokens", "Tokens that the model server counted.", ["kind"], registry=self._registry
        )

    def observe_answer(self, answer: Answer) -> None:
        """Count one answer and its tokens."""
        abstained = "true" if answer.abstained else "false"
        self._answers.labels(answer.generator.generator, abstained, answer.fallback_reason).inc()
        for kind in ("prompt", "completion"):
            self._tokens.labels(kind).inc(answer.usage.get(f"{kind}_tokens", 0))

    def observe(self, method: str, route: str, status: int, spent_s: float) -> None:
        """Count one request."""
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(spent_s)

    def render(self, corpus: Mapping[str, Mapping[str, int]]) -> bytes:
        """Everything as text for Prometheus; `corpus` holds gauges by name and state."""
        return generate_latest(self._registry) + _render_corpus(corpus)


def _render_corpus(corpus: Mapping[str, Mapping[str, int]]) -> bytes:
    registry = CollectorRegistry()
    for name, by_state in corpus.items():
        gauge = Gauge(f"refdesk_{name}", f"Number of {name} by state.", ["state"], registry=registry)
        for state, count in by_state.items():
            gauge.labels(state).set(count)
    return generate_latest(registry)
