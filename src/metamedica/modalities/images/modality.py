"""The modality `images`: a case is a picture, whatever it came as."""

import inspect
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import UInt8

from metamedica import registry
from metamedica.errors import CaseError, FileFormatError, InputError
from metamedica.filed import LiesInFiles
from metamedica.measured import Measured, Measures
from metamedica.modalities.images.encoding import ImageEncoder
from metamedica.modalities.images.hog import BINS, SIZE, classical
from metamedica.modalities.images.invariants import COLOURS, LEVELS, PATTERNS, colours, levels, patterns
from metamedica.modalities.images.network import Network, entering
from metamedica.modalities.images.nucleus import SIZE as NUCLEUS_SIZE
from metamedica.modalities.images.nucleus import nuclei
from metamedica.modalities.images.outline import SIZE as OUTLINE_SIZE
from metamedica.modalities.images.outline import outlines
from metamedica.modalities.images.patches import image_parts, shaded
from metamedica.modalities.images.pixels import PREFIX, Windowing, grey_of, square_of, text_of
from metamedica.modalities.images.rasters import ImageLimits
from metamedica.modalities.images.texture import SIZE as TEXTURE_SIZE
from metamedica.modalities.images.texture import ZONES_SIZE, in_zones, textures
from metamedica.parts import CaseParts, NamesParts
from metamedica.storage import sha256
from metamedica.types import CaseProblem, Encoder, Features, Modality, PreparedCases, Progress, RawEncoder

SIDE = 64
_SHOWN = 60
_OF_UNIT_SIZE = ("network", "hog", "outline")
"""Blocks that a learned encoder reads as they are."""
_VOLUMES = (".nii", ".nii.gz")
_IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".dcm", ".dicom")


class Images(Modality, LiesInFiles, Measures, NamesParts):
    """Pictures as squares of pixels: what a frozen network sees of them, classical features, wavelet scattering.

    Args:
        side: pixels of a side that every image is brought to.
        window: of Hounsfield units, a name of `windows.WINDOWS` or (level, width); None: lung for CT in DICOM, and NIfTI by percentiles.
        network: frozen (`network.Network`, or the value that it gives); None: images are compared by classical features alone.

    Raises:
        InputError: a side below 16 pixels, or other than that of the network.
    """

    name: ClassVar[str] = "images"
    version: ClassVar[str] = "2"
    from_scratch: ClassVar[tuple[str, ...]] = ("linear",)
    default_learner: str = "kernel_prior_gp"
    leaning: ClassVar[float] = 3.0
    same_parts: ClassVar[bool] = True
    legible: ClassVar[bool] = False
    columns: ClassVar[tuple[str, ...]] = (
        r"path|image|file|file_?name|file_?path|image_?path",
        r".*(path|image|file).*",
        "name",
    )
    recipe: ClassVar[Mapping[str, str]] = {
        "texture": "logarithms of wavelet scattering at 64 x 64 pixels as `functional/scattering.py` computes it",
        "waves": "means and spreads of `texture` in zones as `modalities/images/texture.py` computes them",
        "levels": "grey levels and how they vary nearby as `modalities/images/invariants.py` computes them",
        "patterns": "local binary patterns in zones as `modalities/images/invariants.py` computes them",
        "colours": "colours in rings as `modalities/images/invariants.py` computes them",
        "nucleus": "what is dark and what is darkest as `modalities/images/nucleus.py` computes it",
        "hog": "gradients, coarse pixels and grey levels as `modalities/images/hog.py` computes them",
        "outline": "size, outline and darkness of the object in the middle as `modalities/images/outline.py` computes them",
        "network": "what the frozen network of the predictor's modality makes of the image",
    }

    def __init__(
        self,
        side: int = SIDE,
        window: Windowing | Sequence[float] = None,
        network: Network | Mapping[str, Any] | None = None,
    ) -> None:
        if side < 16:
            raise InputError(f"got images of side {side}; give at least 16 pixels")
        self.side = side
        self.window: Windowing = (
            window if isinstance(window, str) or window is None else (float(window[0]), float(window[1]))
        )
        self.network = Network.of_value(network) if isinstance(network, Mapping) else network
        if self.network is not None and self.network.side != side:
            raise InputError(
                f"got images of side {side} and a network of images of side {self.network.side}; give the same side"
            )
        self.limits = ImageLimits()
        self.learned = self.network is not None
        if self.learned:  # the network has seen the earlier tasks, which therefore cannot tell how far to trust it
            self.default_learner = "leave_one_out_gp"

    def settings(self) -> dict[str, Any]:
        """Return side, window and network."""
        return {
            "side": self.side,
            "window": list(self.window) if isinstance(self.window, tuple) else self.window,
            "network": None if self.network is None else self.network.as_value(),
        }

    def prepare(self, cases: Any, *, n_jobs: int | None = None, progress: Progress | None = None) -> PreparedCases:
        """Read, check and featurise images.

        Args:
            cases: paths, bytes, arrays of pixels, or what `prepare` returned as `canonical`; see `pixels.square_of`.
            n_jobs: threads that read files; every core for None and -1.
            progress: called with images done and in total.

        Returns:
            Blocks, float32 `[distinct, size]` if nothing else is said: `hog` (2,052), `texture` (float16, 13,888: logarithms of the scattering
            coefficients of the image at 64 x 64 pixels), `waves` (1,085: the same in zones), `levels` (80: grey levels and how they vary nearby),
            `patterns` (240: local binary patterns), `colours` (72: in rings), `outline` (52: the object in the middle), `nucleus` (22: what is
            dark and darkest) and, with a network, `network`.

        Raises:
            InputError: an impossible `n_jobs`.
        """
        squares, problems = self._read(list(cases), n_jobs, progress)
        row_of: dict[str, int] = {}
        first: list[UInt8[np.ndarray, "side side 3"]] = []
        rows = []
        for square in squares:
            if square is None:
                rows.append(-1)
                continue
            text = text_of(square)
            if text not in row_of:
                row_of[text] = len(first)
                first.append(square)
            rows.append(row_of[text])
        return PreparedCases(rows, list(row_of), self._features(first), problems)

    def beside(self, cases: Sequence[str], folder: str) -> list[str]:
        """Return paths below a folder as the file system knows them; prepared images as they are.

        Raises:
            FileFormatError: a path that is absolute, climbs out of the folder or is a link that does.
        """
        return [case if case.startswith(PREFIX) else _below(case, Path(folder)) for case in cases]

    def identities(self, cases: Sequence[str]) -> list[str]:
        """Return the SHA-256 of each file, and the slice of a volume; a case that is no file as it is."""
        return [_identity(case) for case in cases]

    def _read(
        self, cases: list[object], n_jobs: int | None, progress: Progress | None
    ) -> tuple[list[UInt8[np.ndarray, "side side 3"] | None], list[CaseProblem]]:
        if n_jobs is not None and n_jobs != -1 and n_jobs < 1:
            raise InputError(f"got n_jobs={n_jobs}; give a number of threads, or -1 for every core")
        problems = []
        found: list[UInt8[np.ndarray, "side side 3"] | None] = []

        def read(case: object) -> UInt8[np.ndarray, "side side 3"] | str:
            try:
                return square_of(case, side=self.side, window=self.window, limits=self.limits)
            except (CaseError, FileFormatError, InputError) as error:
                return str(error)

        with ThreadPoolExecutor(None if n_jobs in (None, -1) else n_jobs) as threads:
            for position, square in enumerate(threads.map(read, cases)):
                if isinstance(square, str):
                    problems.append(CaseProblem(position, _shown(cases[position]), square))
                    found.append(None)
                else:
                    found.append(square)
                if progress is not None:
                    progress(position + 1, len(cases), "reading images")
        return found, problems

    def _features(self, squares: Sequence[UInt8[np.ndarray, "side side 3"]]) -> Features:
        together = np.stack(squares) if squares else np.zeros((0, self.side, self.side, 3), np.uint8)
        grey = grey_of(together)
        texture = textures(together)
        features: Features = {
            "hog": torch.from_numpy(classical(grey)),
            "texture": texture.flatten(1).half(),
            "waves": in_zones(texture),
            "levels": torch.from_numpy(levels(grey)),
            "patterns": torch.from_numpy(patterns(grey)),
            "colours": torch.from_numpy(colours(together)),
            "outline": torch.from_numpy(outlines(together)),
            "nucleus": torch.from_numpy(nuclei(together)),
        }
        if self.network is not None:
            features["network"] = self.network.embed(together)
        return features

    def squares(self, canonical: Sequence[str]) -> UInt8[np.ndarray, "n side side 3"]:
        """Return the pixels of images that `prepare` returned.

        Raises:
            CaseError: a text is no image that `prepare` returned.
        """
        found = []
        for place, text in enumerate(canonical):
            if not text.startswith(PREFIX):
                raise CaseError(f"case {place + 1} is no image that was prepared; prepare the cases first")
            found.append(square_of(text, side=self.side, window=None, limits=self.limits))
        return np.stack(found) if found else np.zeros((0, self.side, self.side, 3), np.uint8)

    def _sizes(self) -> dict[str, int]:
        network = {} if self.network is None else {"network": self.network.dim}
        return {
            **network,
            "hog": SIZE,
            "texture": TEXTURE_SIZE,
            "waves": ZONES_SIZE,
            "levels": LEVELS,
            "patterns": PATTERNS,
            "colours": COLOURS,
            "outline": OUTLINE_SIZE,
            "nucleus": NUCLEUS_SIZE,
        }

    def encoder(self, name: str, **settings: Any) -> Encoder:
        """Return a new learned encoder, given what its constructor names: `blocks` or `image`; and its settings. One that is built as the network
        is begins with the network's weights.

        Raises:
            InputError: an unknown encoder or setting.
        """
        blocks = {block: size for block, size in self._sizes().items() if block in _OF_UNIT_SIZE}
        offered = {"blocks": blocks, "image": (3, self.side, self.side)}
        fitting = ["mlp", "resnet", "vit", "conv4"]
        made = registry.build_encoder(name, offered, settings=settings, cases="images", fitting=fitting)
        network = self.network
        if network is not None and name == network.encoder and settings == network.settings:
            made.load_state_dict({key: value.float() for key, value in network.weights.items()})
        return made

    def extra_blocks(self, encoder: str) -> tuple[str, ...]:
        """Return `image` for an encoder that reads pixels, else nothing."""
        return ("image",) if "image" in inspect.signature(registry.encoder_class(encoder)).parameters else ()

    def blocks(
        self,
        names: Sequence[str],
        canonical: Sequence[str],
        *,
        n_jobs: int | None = None,
        progress: Progress | None = None,
    ) -> Features:
        """Return the block beside those of `prepare`: `image` (float32 `[cases, 3 * side * side]`, about +-1).

        Raises:
            InputError: images have no such block.
            CaseError: a text is no prepared image.
        """
        unknown = [name for name in names if name != "image"]
        if unknown:
            raise InputError(f"images have no block {', '.join(unknown)} beside those of prepare; they have image")
        return {"image": entering(self.squares(canonical)).flatten(1)} if names else {}

    def raw_encoder(self) -> RawEncoder:
        """Return the encoder that compares images by classical features but `texture`, which `waves` tells in short: the floor that methods from
        scratch stand on."""
        return ImageEncoder({name: size for name, size in self._sizes().items() if name not in ("network", "texture")})

    def rich_encoder(self) -> RawEncoder:
        """Return the encoder that compares images by what the network sees, where there is one, by gradients, texture and outline."""
        return ImageEncoder(self._sizes())

    def measured(self, features: Features) -> Measured:
        """Return the shares of grey levels, which tell how images were made: exposure, window, stain."""
        values = features["hog"][:, -BINS:].to(torch.float32)
        names = [f"grey level {8 * level} to {8 * level + 7}" for level in range(values.shape[1])]
        return Measured(values, torch.ones_like(values, dtype=torch.bool), names, names)

    def groups(self, canonical: Sequence[str]) -> list[str]:
        """Return each image as its own group: what belongs together (a patient) is in no pixel; name a group column."""
        return list(canonical)

    def draw(self, canonical: str, *, width: int = 220, height: int = 160) -> str:
        """Return the image as HTML.

        Raises:
            CaseError: the text is no prepared image.
        """
        _check_text(canonical)
        size = min(width, height)
        return f'<img class="case" src="{escape(canonical)}" width="{size}" height="{size}" alt="image">'

    def parts(self, canonical: Sequence[str], features: Features, background: Features) -> list[CaseParts]:
        """Return the patches of each image, a grid of 8 x 8; one that is away is blurred out; see `patches.py`.

        Raises:
            CaseError: a text is no prepared image.
        """
        names = tuple(features)

        def featurised(squares: UInt8[np.ndarray, "n side side 3"]) -> Features:
            made = self._features(list(squares))
            if "image" in names:
                made["image"] = entering(squares).flatten(1)
            return {name: made[name].to(features[name].dtype) for name in names}

        return [image_parts(square, featurised) for square in self.squares(canonical)]

    def draw_parts(self, canonical: str, contributions: Sequence[float], *, width: int = 320, height: int = 240) -> str:
        """Return the image as an SVG fragment, each patch shaded by what it contributes: orange above 0, blue below.

        Raises:
            CaseError: the text is no prepared image.
            InputError: one contribution a patch was wanted.
        """
        _check_text(canonical)
        return shaded(canonical, contributions, size=min(width, height))

    def read_file(self, path: str) -> tuple[list[str], list[str]] | None:
        """Return (cases, names): the images below a folder, the slices of a NIfTI volume, the image that another file is; None for tables
        and other files.

        Raises:
            FileFormatError: a volume that cannot be read.
        """
        return _cases_of(Path(path))


def _below(case: str, folder: Path) -> str:
    plain = case.strip().replace("\\", "/")
    if not plain:
        return case  # `prepare` says which one it is
    if "\0" in plain or Path(plain).is_absolute() or ".." in Path(plain).parts:
        raise FileFormatError(
            f"{_shown(case)!r} names no file below the folder of the table; give paths below it, without .."
        )
    name, mark, place = plain.partition("#")
    if not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise FileFormatError(f"{_shown(case)!r} is a link out of the folder of the table; put the file itself there")
    return f"{folder / name}{mark}{place}"


def _identity(case: str) -> str:
    name, mark, place = case.partition("#")
    path = Path(case if case.startswith(PREFIX) or not name.lower().endswith(_VOLUMES) else name)
    try:
        return f"{sha256(path)}{mark}{place}"
    except (OSError, ValueError):
        return case


def _check_text(text: str) -> None:
    if not text.startswith(PREFIX):
        raise CaseError("a text came that is no prepared image; prepare the cases first")


def _cases_of(path: Path) -> tuple[list[str], list[str]] | None:
    name = path.name.lower()
    if path.is_dir():
        inside = sorted(each for each in path.rglob("*") if each.name.lower().endswith(_IMAGES))
        inside = [each for each in inside if each.resolve().is_relative_to(path.resolve())]
        if not inside:
            raise FileFormatError(f"the folder {path.name!r} holds no image; give one with {', '.join(_IMAGES)}")
        return [str(each) for each in inside], [each.relative_to(path).as_posix() for each in inside]
    if name.endswith(_VOLUMES):
        from metamedica.modalities.images.nifti import read_nifti

        count = len(read_nifti(path).values)
        cases = [f"{path}#{number}" for number in range(count)]
        return cases, [f"{path.name}#{number}" for number in range(count)]
    if name.endswith(_IMAGES):
        return [str(path)], [path.name]
    return None


def _shown(case: object) -> str:
    """Return what an error calls a case: a path by its last part, everything else by its kind (pixels are no text)."""
    if isinstance(case, str | Path) and not str(case).startswith(PREFIX):
        text = Path(case).name
        text = text if text.isprintable() else ascii(text)[1:-1]
        return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return type(case).__name__ if not isinstance(case, str) else "a prepared image"
