"""TFDS' own builders prepared as ArrayRecord where TensorFlow is not installed.

Builders and tfds itself call a few functions of TensorFlow while they prepare: files are opened by `tf.io.gfile`, and
images encoded. This is the one module that knows tfds' private names (4.9): for as long as a dataset is prepared, it
puts a stand-in where tfds' modules keep `tf`. Nothing is put into `sys.modules`: tfds looks there to learn whether
TensorFlow is at hand.
"""

import contextlib
import glob
import importlib.util
import io
import os
import resource
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image

from vit_jax.data.images.decode import decode
from vit_jax.errors import UserError

INSTALL = "pip install tensorflow-cpu, and start again"


def prepare(name: str, data_dir: str) -> Any:
    """Downloads a dataset of the catalogue, prepares it as ArrayRecord in `data_dir`, and returns tfds' builder of it.

    What needs to be downloaded by hand goes into downloads/manual of `data_dir`. One that is prepared is left as it is.
    Raises UserError where tfds knows no such dataset, the download fails, or its builder needs more of TensorFlow than
    files and encoded images.
    """
    import tensorflow_datasets
    from tensorflow_datasets.core.registered import DatasetNotFoundError

    with _stand_in() as missed:
        try:
            _refuse_another_format(tensorflow_datasets.builder(name, data_dir=data_dir or None))
            builder = tensorflow_datasets.builder(name, data_dir=data_dir or None, file_format="array_record")
            builder.download_and_prepare()
            return builder
        except DatasetNotFoundError:
            raise UserError(f'tfds knows no dataset "{name}"; check the name') from None
        except UserError:
            raise
        except Exception as error:
            if isinstance(error, AttributeError) and missed:
                raise UserError(
                    f'the builder of "{name}" needs TensorFlow: it asks for {missed[-1]}; {INSTALL}'
                ) from None
            if isinstance(error, ImportError) and "tensorflow" in str(error):
                raise UserError(f'the builder of "{name}" needs TensorFlow: it imports it; {INSTALL}') from None
            reason = " ".join(str(error).split())
            raise UserError(f'tfds could not prepare "{name}" ({type(error).__name__}: {reason})') from None


def _refuse_another_format(builder: Any) -> None:
    """Raises UserError where the dataset is prepared already, in a format that has no random access."""
    format = builder.info.file_format
    if (builder.data_path / "dataset_info.json").exists() and format and format.value != "array_record":
        raise UserError(
            f'"{builder.data_path}" is prepared already, as {format.value}; give another --data-dir, or convert it: '
            f"--tfrecord={builder.data_path} --out=FOLDER"
        )


@contextlib.contextmanager
def _stand_in() -> Iterator[list[str]]:
    """Serves tfds instead of TensorFlow; gives the names that were asked for in vain, the last of them last.

    Where TensorFlow is installed, it does what it always does.
    """
    missed: list[str] = []
    if importlib.util.find_spec("tensorflow"):
        yield missed
        return
    from tensorflow_datasets.core import utils
    from tensorflow_datasets.core.features import image_feature
    from tensorflow_datasets.core.utils import image_utils, lazy_imports_utils

    encoder: Any = image_feature._ImageEncoder
    tensorflow, real = _tensorflow(missed), lazy_imports_utils.tensorflow
    kept = [(encoder, "_encode_image", encoder._encode_image)]
    kept += [(module, name, getattr(module, name)) for module in (utils, image_utils) for name in _CONVERSIONS]
    _exchange(real, tensorflow)
    _raise_open_files()
    encoder._encode_image = _encode_image
    for module in (utils, image_utils):
        for name, convert in _CONVERSIONS.items():
            setattr(module, name, convert)
    try:
        yield missed
    finally:
        _exchange(tensorflow, real)
        for owner, name, value in kept:
            setattr(owner, name, value)


def _exchange(old: object, new: object) -> None:
    """Puts `new` where modules, tfds' and those of builders, have `old`; those imported later take it from tfds."""
    for module in list(sys.modules.values()):
        for name in ("tf", "tensorflow"):
            if getattr(module, "__dict__", {}).get(name) is old:
                setattr(module, name, new)


def _raise_open_files() -> None:
    """Lets as many files be open as the machine allows: tfds shuffles through a thousand."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class _Module(SimpleNamespace):
    """A module of TensorFlow with what builders may use of it; another name is noted in `missed`."""

    def __init__(self, missed: list[str], title: str, **known: Any):
        super().__init__(**known)
        self._missed = missed
        self._title = title

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            self._missed.append(f"{self._title}.{name}")
        raise AttributeError(name)


def _tensorflow(missed: list[str]) -> _Module:
    """Returns what builders and tfds use while they prepare."""
    from etils import epath

    never = type("Never", (Exception,), {})  # is caught, and never raised without TensorFlow
    gfile = _Module(
        missed,
        "tf.io.gfile",
        GFile=lambda path, mode="r": epath.Path(path).open(mode),
        copy=lambda source, target, overwrite=False: epath.Path(source).copy(target, overwrite),
        exists=lambda path: epath.Path(path).exists(),
        glob=lambda pattern: sorted(glob.glob(os.fspath(pattern))),
        isdir=lambda path: epath.Path(path).is_dir(),
        listdir=lambda path: [entry.name for entry in epath.Path(path).iterdir()],
        makedirs=lambda path: epath.Path(path).mkdir(parents=True, exist_ok=True),
        remove=lambda path: epath.Path(path).unlink(),
    )
    jpeg = SimpleNamespace
    return _Module(
        missed,
        "tf",
        io=_Module(missed, "tf.io", gfile=gfile, encode_jpeg=lambda pixels: jpeg(numpy=lambda: _jpeg(pixels))),
        image=_Module(missed, "tf.image", decode_image=lambda file: np.asarray(decode(file, "an image"))),
        compat=_Module(missed, "tf.compat", as_text=lambda text: text.decode() if isinstance(text, bytes) else text),
        errors=_Module(
            missed,
            "tf.errors",
            NotFoundError=FileNotFoundError,
            ResourceExhaustedError=never,
            UnimplementedError=never,
        ),
        shape=np.shape,
    )


def _encode_image(encoder: Any, pixels: np.ndarray) -> bytes:
    """Encodes an array as tfds' encoder does by TensorFlow: PNG, or JPEG of quality 95."""
    from tensorflow_datasets.core.features import image_feature

    image_feature._validate_np_array(pixels, shape=encoder.shape, dtype=encoder.np_dtype)
    if encoder.encoding_format == "jpeg":
        return _jpeg(pixels)
    file = io.BytesIO()
    PIL.Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
    return file.getvalue()


def _jpeg(pixels: np.ndarray, quality: int = 95) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "JPEG", quality=quality)
    return file.getvalue()


def _as_jpeg(image: bytes, quality: int = 100) -> bytes:
    return _jpeg(np.asarray(decode(image, "an image")), quality)


# What ImageNet's builder mends a few images with, and pixels are looked at with.
_CONVERSIONS = {
    "decode_image": lambda image: np.asarray(decode(image, "an image")),
    "jpeg_cmyk_to_rgb": _as_jpeg,
    "png_to_jpeg": _as_jpeg,
}
