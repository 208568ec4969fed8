"""What a learner keeps of the earlier tasks when it is fitted in closed form: named tensors, a set for each kind of task."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from torch import Tensor, nn

from metamedica.types import TaskKind


class Fitted(nn.Module):
    """Named buffers whose sizes are known once tasks have been seen; a `state_dict` with other sizes can be loaded.

    Args:
        start: their values before that; integer ones stay integer.
    """

    def __init__(self, start: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, value in start.items():
            self.register_buffer(name, value)

    def __getitem__(self, name: str) -> Tensor:
        return self.get_buffer(name)

    def keep(self, found: Mapping[str, Tensor]) -> None:
        """Put values in the place of the buffers with these names, each in its buffer's type and on its device."""
        for name, value in found.items():
            setattr(self, name, value.to(self[name]))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name, buffer in list(self.named_buffers(recurse=False)):  # torch refuses another size
            if prefix + name in state_dict:
                setattr(self, name, buffer.new_empty(state_dict[prefix + name].shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)


class FittedKinds(nn.Module):
    """A `Fitted` for each kind of task.

    Args:
        kinds: of task.
        start: as that of `Fitted`; each kind gets a copy.
    """

    def __init__(self, kinds: Iterable[TaskKind], start: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.by_kind = nn.ModuleDict(
            {kind: Fitted({name: value.clone() for name, value in start.items()}) for kind in sorted(kinds)}
        )

    def of(self, kind: TaskKind) -> Fitted:
        """Return what tasks of this kind have taught."""
        return cast(Fitted, self.by_kind[kind])
