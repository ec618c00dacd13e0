"""Which provider `auto` is: CUDA if it works, otherwise the faster of the CPU and OpenVINO."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from detection.agreement import agrees, builtin_pictures
from detection.errors import StartError
from detection.letterbox import Pixels
from detection.precision import Precision
from detection.predictions import Predictions
from detection.providers import ProviderName, able
from detection.session import Session, has_cuda, has_openvino, open_session
from detection.settings import DetectionSettings
from detection.tuning import BUDGET_S, Plan
from store.model import Model

COMPARED = (ProviderName.CPU, ProviderName.OPENVINO)

Open = Callable[[ProviderName, Precision], Session]
"""Opens the model on a provider in a precision."""
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Choice:
    """A provider, and why it was chosen."""

    provider: ProviderName
    reason: str = ""
    """What was measured; empty if nothing was."""
    rejected: str | None = None
    """Why OpenVINO did not come into question."""
    rest_s: float = BUDGET_S
    """What is left of the time for measurements."""

    def explain(self, session: Session, plan: Plan) -> tuple[Session, Plan]:
        """The session and the plan with the reasons of this choice."""
        if self.reason:
            plan = dataclasses.replace(plan, reason=f"{self.reason}; {plan.reason}")
        if self.rejected:
            session = dataclasses.replace(session, fallback=self.rejected)
        return session, plan


def choose_provider(
    model: Model,
    settings: DetectionSettings,
    *,
    measure: bool,
    before_measuring: Callable[[], object] = lambda: None,
) -> Choice:
    """The provider for a model. Without `measure`, `auto` stays `auto` (`session.choose`).

    `before_measuring` is called if providers are compared: it waits for other work, which would
    disturb. Raises ModelError or StartError for a model that can't be opened.
    """
    wanted = settings.provider
    if wanted is not ProviderName.AUTO or not measure or has_cuda() or not has_openvino():
        return Choice(wanted)

    def open_on(provider: ProviderName, precision: Precision) -> Session:
        return open_session(model, provider, settings.threads, 1, precision=precision)

    before_measuring()
    return fastest(model, settings.precision, open_on)


def fastest(
    model: Model, precision: Precision, open_on: Open, *, clock: Clock = time.perf_counter
) -> Choice:
    """The faster of the CPU and OpenVINO whose faces agree with float32 on the CPU.

    The faces are those of the built-in pictures, and the bounds are `agreement.BOUNDS`. A second
    provider is not tried once the time is up. Raises StartError if none agrees.
    """
    started = clock()
    pictures = builtin_pictures(model)
    reference = open_on(ProviderName.CPU, Precision.FLOAT32)
    expected, reference_seconds = _run(reference, pictures, clock)
    costs: dict[ProviderName, float] = {}
    rejected: str | None = None
    for provider in COMPARED:
        if provider not in able(precision) or (costs and clock() - started > BUDGET_S):
            continue
        try:
            if (provider, precision) == (ProviderName.CPU, Precision.FLOAT32):
                costs[provider] = reference_seconds
                continue
            found, seconds = _run(open_on(provider, precision), pictures, clock)
        except StartError as error:
            if provider is ProviderName.CPU:
                raise
            rejected = str(error)
            continue
        if not agrees(model, precision, expected, found):
            rejected = (
                f"in {precision}, the faces of the built-in pictures on {provider} differ too much "
                "from those of float32"
            )
            continue
        costs[provider] = seconds
    if not costs:
        raise StartError(f"{model.name}: SFD_PRECISION={precision} does not work: {rejected}")
    best = min(costs, key=lambda provider: costs[provider])
    measured = ", ".join(f"{name} {seconds * 1000:.1f} ms" for name, seconds in costs.items())
    return Choice(
        best,
        f"auto chose {best}: {measured}",
        rejected if best is ProviderName.CPU else None,
        max(0.0, BUDGET_S - (clock() - started)),
    )


def _run(
    session: Session, pictures: Sequence[Pixels], clock: Clock
) -> tuple[list[Predictions], float]:
    """What the network predicts for each picture, and the seconds of the fastest inference.

    The first inference does not count, because it allocates. So the last picture is run twice.
    """
    found, seconds = [], []
    for picture in (*pictures, pictures[-1]):
        started = clock()
        found += session.try_run([picture])
        seconds.append(clock() - started)
    return found[: len(pictures)], min(seconds[1:])
