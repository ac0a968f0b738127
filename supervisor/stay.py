"""How long guard stays after the target's end, at most, for the last deeds of a run. Pure.

Hooks come first, since they may add to the evidence; then shipping, messages, the figures' last word and retention, all
at the same time. One deadline holds for everything: what hooks don't use is nobody else's.
"""

from __future__ import annotations

from dataclasses import dataclass

from supervisor.config import Config

_SPARE_HOOK_S = 5.0  # a worker keeps to the hook's time itself: this is for one that doesn't
_MESSAGES_S = 5.0
_FIGURES_S, _PUSH_S = 1.0, 3.0
_RETENTION_S = 2.0
# After a stop that was asked for, where nothing else is set: `docker stop` kills after 10 s, of which the target has
# had its part.
_STOPPED_HOOKS_S, _STOPPED_MESSAGES_S, _STOPPED_SHIPPING_S = 4.0, 2.0, 3.0
_LEAST_WAIT_S = 1.0  # a wait for the next life that is worth a batch to ship


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds: `hooks_s` from the end record on, the others from the last hook's end on, `whole_s` for all."""

    hooks_s: float
    messages_s: float
    shipping_s: float
    figures_s: float
    retention_s: float

    @property
    def whole_s(self) -> float:
        """From the end record on."""
        return self.hooks_s + max(self.messages_s, self.shipping_s, self.figures_s, self.retention_s)


def bounds(config: Config, *, stopped: bool, hooks: int, again: bool = False, wait_s: float | None = None) -> Bounds:
    """`stopped`: a stop was asked for; `hooks`: how many run or wait; `again`: another life follows, after `wait_s`.

    Before another life there is the time that it waits anyway, which is None where it waits for a change: a crash loop
    may never have another. It waits for no message: what isn't away by then waits on disk.
    """
    hooks_s = hooks * (config.hook_timeout + _SPARE_HOOK_S)
    messages_s, shipping_s = _MESSAGES_S, config.ship_timeout
    if stopped:
        given = config.values["hook-timeout"].explicit
        hooks_s = 0.0 if not hooks else config.hook_timeout + _SPARE_HOOK_S if given else _STOPPED_HOOKS_S
        messages_s = _STOPPED_MESSAGES_S
        if not config.values["ship-timeout"].explicit:
            shipping_s = min(shipping_s, _STOPPED_SHIPPING_S)
    if again:
        messages_s = 0.0
        if wait_s is not None:
            shipping_s = min(shipping_s, wait_s) if wait_s >= _LEAST_WAIT_S else 0.0
    return Bounds(hooks_s, messages_s, shipping_s, 0.0 if again else figures_s(config), _RETENTION_S)


def figures_s(config: Config) -> float:
    """For the last word of the process that shows the figures."""
    return _FIGURES_S if config.otlp is None else _PUSH_S
