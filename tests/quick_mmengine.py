"""What takes most of the time of reading and saving a config, and has no part in what is tested."""

import copy
import functools
from pathlib import Path

import mmdet
import mmengine.config.config
import mmengine.config.utils
import mmpretrain
from mmengine.config import Config

#: Where nothing is written while tests run.
CONFIGS = Path(__file__).parents[1] / 'configs'
FIXED = tuple(map(str, (CONFIGS, *mmdet.__path__, *mmpretrain.__path__)))


def spare_time() -> None:
    """Let MMEngine do once what it does for every config, or for every base of one."""
    config = mmengine.config.config
    # All metafiles of a package, for every base that lies there.
    mmengine.config.utils.load = functools.cache(mmengine.config.utils.load)
    # Whether the package is there: pkg_resources is imported anew.
    config.is_installed = functools.cache(config.is_installed)
    # Each file is copied and written four times before it is parsed.
    Config._file2dict = staticmethod(_remembering(Config._file2dict))
    # yapf lays out a config each time it is saved.
    config.FormatCode = lambda text, style_config: (text, False)


def _remembering(read):
    cached = functools.cache(read)

    def wrapper(filename, *args, **kwargs):
        path = Path(filename).absolute()
        if str(path).startswith(FIXED) and path.is_file():
            return copy.deepcopy(cached(str(path), *args, **kwargs))
        return read(filename, *args, **kwargs)

    return wrapper
