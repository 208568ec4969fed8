"""The error tree. Every message says what came, what was wanted and what to do, in one sentence.

MetamedicaError
├── InputError          the user's cases, files or options cannot be used (CLI exit code 2)
│   ├── FileFormatError a file is missing, empty, in an unknown format or lacks a column
│   ├── CaseError       a case cannot be read: names file, row and text where they are known
│   ├── UnfittedError   a MetaLearner is asked before it was fitted; in predictors/model, as scikit-learn's NotFittedError too
│   └── TaskError       a task cannot be used: too few cases, one class only, wrong kind of target
├── BundleError         a saved model, checkpoint or prepared collection is broken or of another kind (CLI exit code 2)
├── MissingExtraError   an optional package is not installed; names the pip line (CLI exit code 2)
└── TrainingError       meta-training cannot go on (for example, the loss is not finite) (CLI exit code 1)
"""


class MetamedicaError(Exception):
    """Base of every error that Metamedica raises on purpose."""


class InputError(MetamedicaError, ValueError):
    """The user's cases, files or options cannot be used."""


class FileFormatError(InputError):
    """A file is missing, empty, in an unknown format or lacks a column."""


class CaseError(InputError):
    """A case cannot be read."""


class TaskError(InputError):
    """A task cannot be used."""


class BundleError(MetamedicaError):
    """A saved model, checkpoint or prepared collection is broken or of another kind."""


class MissingExtraError(MetamedicaError, ImportError):
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; install it with: pip install 'metamedica[{extra}]'")


class TrainingError(MetamedicaError, RuntimeError):
    """Meta-training cannot go on."""
