"""Clinical tasks declared in YAML: what is a case, a label, a task and a patient -> one frame with roles. `read_declared` reads one."""

from metamedica.data.declared.files import read_declaration
from metamedica.data.declared.language import Declaration
from metamedica.data.declared.reading import Declared, read_declared

__all__ = ["Declaration", "Declared", "read_declaration", "read_declared"]
