"""What the jobs of one process share: the data and the way to MLflow, opened once for all.

Imports nothing heavy: the tracking process is started before torch is imported.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from dlrun import record
from dlrun.console.progress import Progress
from dlrun.errors import Mistake
from dlrun.recipe import signature

if TYPE_CHECKING:
    from dlrun.data import Data
    from dlrun.tracking.shipper import Shipper


class Shared:
    """What the jobs of one process have in common: the data and the way to MLflow, opened once.

    records: the runs of the last job, the first begun first.
    """

    def __init__(self, brief: bool = False, cores: int | None = None) -> None:
        """brief: show a run as little more than its progress, for one among many.

        cores: how many threads a job may use where its recipe does not say; None for all.
        """
        self.cores = cores
        self.show = Progress(brief=brief)
        self.records: list[Path] = []
        self._shippers: dict[str, Shipper] = {}
        self._data: tuple[Any, Data] | None = None

    def shipper(self, config: DictConfig) -> "Shipper | None":
        """The process that delivers to the recipe's tracking store; None for `tracking=none`."""
        if not config.tracking:
            return None
        tracking: Any = OmegaConf.create(OmegaConf.to_container(config.tracking, resolve=True))
        if config.resume and tracking.get("experiment") is None:  # a run stays where it is
            known = record.read_json(Path(config.resume) / "tracking.json").get("experiment")
            if known:
                tracking.experiment = known
        key = OmegaConf.to_yaml(tracking)
        if key not in self._shippers:
            self._shippers[key] = _start_tracking(tracking)
        return self._shippers[key]

    def data(self, config: DictConfig) -> "Data":
        """The recipe's data; those of the last job where they are the same."""
        from dlrun.recipe import build

        key = OmegaConf.to_container(config.data, resolve=True)
        if self._data is None or self._data[0] != key:
            self._data = key, build.load_data(config, self.show.loading)
        return self._data[1]

    def close(self) -> None:
        """Wait until all is delivered."""
        self.show.end()
        for shipper in self._shippers.values():
            shipper.close()


def _start_tracking(tracking: Any) -> "Shipper":
    """The process that delivers to a tracking store, getting ready."""
    values = {str(key): value for key, value in tracking.items() if key != "_target_"}
    wrong = signature.problems(tracking._target_, values, "tracking")
    if wrong:
        raise Mistake("\n".join(wrong))
    try:
        shipper: Shipper = instantiate(tracking)
    except Exception as error:
        raise error.__cause__ or error from None
    return shipper
