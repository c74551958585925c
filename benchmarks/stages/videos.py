"""The videos of the stages loaders and both: found where the stage decode made them, or made."""

from stages.child import LostError
from stages.data import found
from stages.stage import Stage


def forms_of(stage: Stage) -> dict[str, str]:
    """Returns the forms' manifests; none, and says so, where there is no time to make them."""
    data, rehearse = stage.asked.data, stage.asked.rehearse
    if forms := found(data, rehearse):
        return forms
    stage.say("the videos have not been made: making them")
    maker = stage.child("videos")
    try:
        made: dict[str, str] = maker.ask("stages.data_jobs.make", data, rehearse, limit_s=stage.left_s - 1)
    except LostError as error:
        stage.leave_out(f"the benchmark's videos ({error})")
        return {}
    finally:
        maker.end()
    return made
