"""What the conformance kit is made of: checks with a name, what they ask for and what to change, and a report of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from gasdet.errors import GasdetError, UsageError, first_line

Subject = TypeVar("Subject")
Result = Literal["passed", "failed", "not applicable"]


class Failed(Exception):  # noqa: N818 (what happened to a check, not an error of the kit)
    """What a check found wrong, as a sentence."""


class NotApplicable(Exception):  # noqa: N818
    """Why a check has nothing to look at, as a part of a sentence."""


class ConformanceError(AssertionError):
    """A component does not pass the kit; the message lists every failed check with what to change.

    An AssertionError, so that a plugin's tests fail with it instead of being in error.
    """


@dataclass(frozen=True, slots=True)
class Check(Generic[Subject]):
    """One thing that a component is held to.

    Attributes:
        name: In words with hyphens, unique in its suite.
        demands: What must be so, one line.
        advice: What to change where it is not, one line.
        function: Looks at a subject: returns what it measured (or nothing), raises ``Failed`` or ``NotApplicable``.
        needs: Checks whose failure would make this one fail too: where one of them failed, it does not run.
    """

    name: str
    demands: str
    advice: str
    function: Callable[[Subject], str | None]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check said.

    Attributes:
        check: Its name.
        demands: What it asks for.
        result: ``passed``, ``failed`` or ``not applicable``.
        detail: What it found or measured; why it does not apply.
        advice: What to change; empty unless it failed.
        seconds: How long it took.
    """

    check: str
    demands: str
    result: Result
    detail: str = ""
    advice: str = ""
    seconds: float = 0.0


Told = Callable[[CheckResult], None]
"""Hears of each result as soon as it is there."""


@dataclass(frozen=True, slots=True)
class Report:
    """All results for one component.

    Attributes:
        kind: "detector", "metric", "loss", "calibrator" or "preprocessor".
        name: Of the component.
        results: In the order of the suite.
    """

    kind: str
    name: str
    results: tuple[CheckResult, ...] = field(default=())

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """The results of the checks that it does not pass."""
        return tuple(result for result in self.results if result.result == "failed")

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failed

    def require(self) -> Report:
        """The report itself, for tests.

        Raises:
            ConformanceError: A check failed.
        """
        if self.failed:
            lines = [f"  {r.check}: {r.detail} To change: {r.advice}" for r in self.failed]
            raise ConformanceError(
                f"the {self.kind} {self.name!r} fails {len(lines)} of {len(self.results)} checks:\n" + "\n".join(lines)
            )
        return self

    def to_mapping(self) -> dict[str, Any]:
        """For ``gasdet plugin check --json``."""
        return {
            "kind": self.kind,
            "name": self.name,
            "passed": self.passed,
            "checks": [
                {
                    "check": r.check,
                    "demands": r.demands,
                    "result": r.result,
                    "detail": r.detail,
                    "advice": r.advice,
                    "seconds": round(r.seconds, 3),
                }
                for r in self.results
            ],
        }


class Suite(Generic[Subject]):
    """The checks for one kind of component, in the order in which they run.

    Args:
        kind: "detector", "metric", "loss", "calibrator" or "preprocessor".
        gates: The checks without which the later ones have nothing to look at: where one does not pass, they do not run.
    """

    def __init__(self, kind: str, *gates: str) -> None:
        self.kind = kind
        self.gates = gates or ("imports",)
        self.checks: dict[str, Check[Subject]] = {}

    def check(
        self, name: str, demands: str, advice: str, needs: Sequence[str] = ()
    ) -> Callable[[Callable[[Subject], str | None]], Callable[[Subject], str | None]]:
        """Decorate a function that looks at a subject; its place in the file is its place in the suite."""

        def add(function: Callable[[Subject], str | None]) -> Callable[[Subject], str | None]:
            assert name not in self.checks, f"two checks of the {self.kind} suite are called {name}"
            assert set(needs) <= set(self.checks), f"{name} needs a check that does not come before it"
            self.checks[name] = Check(name, demands, advice, function, tuple(needs))
            return function

        return add

    def run(self, name: str, subject: Subject, only: Sequence[str] = (), told: Told | None = None) -> Report:
        """Run the checks, or some of them, on one component. A check that crashes has failed.

        Args:
            name: Of the component.
            subject: What the checks get.
            only: Names of the checks to run; empty for all.
            told: Called with each result as soon as it is there.

        Raises:
            UsageError: There is no check of such a name.
        """
        unknown = sorted(set(only) - set(self.checks))
        if unknown:
            raise UsageError(
                f"there is no {self.kind} check called {', '.join(unknown)}; there are {', '.join(self.checks)}."
            )
        assert set(self.gates) <= set(self.checks), f"the {self.kind} suite lacks one of its gates {self.gates}"
        chosen = [check for check in self.checks.values() if not only or check.name in only]
        results = []
        for result in self._results(chosen, subject):
            results.append(result)
            if told is not None:
                told(result)
        return Report(self.kind, name, tuple(results))

    def _results(self, chosen: Sequence[Check[Subject]], subject: Subject) -> Iterator[CheckResult]:
        in_the_way: dict[str, str] = {}  # of checks that failed, or did not run for that, what those say that need them
        unusable = ""
        for check in chosen:
            said = unusable or next((in_the_way[name] for name in check.needs if name in in_the_way), "")
            if said:
                result = CheckResult(check.name, check.demands, "not applicable", said)
            else:
                result = _run(check, subject)
            if said or result.result == "failed":
                in_the_way[check.name] = said or f"{check.name}: failed"
            if check.name in self.gates and result.result != "passed":
                unusable = unusable or f"{check.name}: {result.result}"
            yield result


def _run(check: Check[Any], subject: Any) -> CheckResult:
    started = time.perf_counter()
    detail, result, advice = "", "passed", ""
    try:
        detail = check.function(subject) or ""
    except NotApplicable as reason:
        detail, result = str(reason), "not applicable"
    except Failed as finding:
        detail, result, advice = str(finding), "failed", check.advice
    except GasdetError as error:
        detail, result, advice = str(error), "failed", check.advice
    except (Exception, SystemExit) as error:
        detail, result, advice = f"It raises {type(error).__name__}: {first_line(error)}.", "failed", check.advice
    return CheckResult(check.name, check.demands, result, detail, advice, time.perf_counter() - started)  # type: ignore[arg-type]


def tables(suites: Mapping[str, Suite[Any]]) -> dict[str, list[tuple[str, str, str]]]:
    """Kind to (check, demands, advice) of all its checks: what the documentation lists."""
    return {kind: [(c.name, c.demands, c.advice) for c in suite.checks.values()] for kind, suite in suites.items()}
