"""Cases that lie in files: what a modality adds whose raw cases are paths. Ground floor."""

from abc import ABC, abstractmethod
from collections.abc import Sequence


class LiesInFiles(ABC):
    """What a modality adds when a raw case may be the path of a file (an image) and not the case itself."""

    @abstractmethod
    def beside(self, cases: Sequence[str], folder: str) -> list[str]:
        """Return cases that a table in this folder names as `prepare` finds them.

        Raises:
            InputError: a case that lies outside of the folder.
        """

    @abstractmethod
    def identities(self, cases: Sequence[str]) -> list[str]:
        """Return a text for each case that changes whenever what its file holds does, for caches."""
