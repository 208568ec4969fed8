"""Buffers that grow when tasks have been seen: another size is loaded, types stay, kinds are apart."""

import torch

from metamedica.functional.fitted import Fitted, FittedKinds


def test_a_state_dict_of_another_size_is_loaded() -> None:
    taught, new = (FittedKinds({"binary", "regression"}, {"weight": torch.zeros(0)}) for _ in range(2))
    taught.of("binary").keep({"weight": torch.arange(5.0)})
    new.load_state_dict(taught.state_dict())
    torch.testing.assert_close(new.of("binary")["weight"], torch.arange(5.0))
    assert new.of("regression")["weight"].numel() == 0


def test_what_is_kept_takes_the_type_of_its_buffer() -> None:
    fitted = Fitted({"value": torch.zeros(()), "place": torch.zeros(0, dtype=torch.int64)})
    fitted.keep({"value": torch.tensor(0.5, dtype=torch.float64), "place": torch.tensor([3])})
    assert fitted["value"].dtype == torch.float32
    assert fitted.double()["place"].dtype == torch.int64
    assert fitted["value"].dtype == torch.float64
