"""From what a user types to complete configurations: the only place that talks to Hydra's parser.

Every combination of a sweep is composed and checked before anything runs.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.config import ConfigError, Spine, check, suggest
from sparsekit.execution.identity import canonical
from sparsekit.sweep import key_of, points

CONFIGS = next(
    path
    for path in (Path(__file__).parent / "configs", Path(__file__).parent.parent / "configs")
    if path.is_dir()
)
ADDED_GROUPS = ("experiment", "debug", "control")
NOT_IDENTITY = ("runtime", "cluster", "resources", "executor", "logger", "sweep")
Memory = dict[tuple[str, ...], tuple[Any, dict[str, str]]]
HYDRA_KEYS = ("hydra", "hydra/launcher", "hydra/sweeper")


@dataclasses.dataclass(frozen=True)
class Run:
    """One complete, checked configuration and the choices that led to it.

    Runs whose `variant` is equal differ in nothing but seed, sparsity and where they run.
    """

    config: Mapping[str, Any]
    variant: str
    choices: Mapping[str, str]
    overrides: tuple[str, ...]

    @property
    def experiment(self) -> str:
        return self.choices.get("experiment", "custom")


def compose_runs(overrides: Sequence[str], folders: Sequence[Path] = ()) -> list[Run]:
    """Every run that `overrides` ask for: products of `a,b` lists, then the experiment's sweep."""
    groups = list_groups(folders)
    runs: dict[str, Run] = {}
    memory: Memory = {}
    for typed in _products(overrides, groups):
        base = compose_one(typed, folders, memory)
        for run in _swept(base, typed, folders, memory):
            runs.setdefault(repr((run.config, run.choices)), run)
    if not runs:
        raise ConfigError("sweep: its grids contain no run")
    return list(runs.values())


def compose_one(
    overrides: Sequence[str], folders: Sequence[Path] = (), memory: Memory | None = None
) -> Run:
    """The one configuration of `overrides`, checked; ConfigError says what is wrong and where.

    Hydra composes what is chosen from groups, which takes a tenth of a second; values are set
    afterwards. Calls that share a `memory` let it compose every choice once.
    """
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    groups = list_groups(folders)
    leaves = whole_leaves(overrides)
    typed = [_normalised(text, groups) for text in overrides if key_of(text) not in leaves]
    values = [text for text in typed if text.startswith("++")]
    options = tuple(text for text in typed if not text.startswith("++"))
    memory = {} if memory is None else memory
    try:
        if options not in memory:
            memory[options] = _composed(options, folders)
        chosen, choices = memory[options]
        composed = copy.deepcopy(chosen)
        for text in values:
            _set(composed, text)
        for key, leaf in leaves.items():
            OmegaConf.update(composed, key, leaf, merge=False, force_add=True)
        written = OmegaConf.to_container(composed, resolve=False)
        plain = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(_reason(error)) from error
    assert isinstance(plain, dict)
    assert isinstance(written, dict)
    config = {str(name): value for name, value in plain.items()}
    check(config)
    return Run(config, _digest(written), choices, tuple(overrides))


def _composed(options: Sequence[str], folders: Sequence[Path]) -> tuple[Any, dict[str, str]]:
    """The open configuration that Hydra makes of options of groups, and the option of each group.

    What is set later is checked against the types of the spine, and by `check`.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    paths = ",".join(f"file://{folder.resolve()}" for folder in folders)
    ConfigStore.instance().store(name="spine", node=Spine)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        composed = compose(
            "config", [*options, f"hydra.searchpath=[{paths}]"], return_hydra_config=True
        )
    choices = {str(k): v for k, v in composed.hydra.runtime.choices.items()}
    OmegaConf.set_struct(composed, False)
    del composed["hydra"]
    return composed, {k: v for k, v in choices.items() if not k.startswith("hydra")}


def _set(composed: Any, text: str) -> None:
    """Set one value, `++key=value`."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        OmegaConf.update(composed, key_of(text), _value(text), merge=True, force_add=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{text.removeprefix('++')}: {_first_lines(error)}") from error


@functools.lru_cache(maxsize=4096)
def _value(text: str) -> Any:
    """What an override sets, in Hydra's grammar."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_override(text).value()


def whole_leaves(overrides: Sequence[str]) -> dict[str, Any]:
    """Overrides that give a leaf whole, `key={_target_:...}`: they replace what stands there.

    Hydra would merge the two, and the arguments of the old target would be left in the new leaf.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    texts = [text for text in overrides if "_target_" in text and not text.startswith("~")]
    parsed = OverridesParser.create().parse_overrides(texts)
    values = {key_of(text): one.value() for text, one in zip(texts, parsed, strict=True)}
    return {key: v for key, v in values.items() if isinstance(v, dict) and "_target_" in v}


def identity_of(config: Mapping[Any, Any]) -> dict[str, Any]:
    """The part of a configuration that decides its results."""
    return {str(k): v for k, v in config.items() if k not in NOT_IDENTITY}


def _digest(written: Mapping[Any, Any]) -> str:
    kept = {k: v for k, v in identity_of(written).items() if k not in ("seed", "sparsity")}
    return hashlib.sha256(canonical(kept).encode()).hexdigest()[:8]


def list_groups(folders: Sequence[Path] = ()) -> dict[str, dict[str, Path]]:
    """Options of every group: group -> option -> file."""
    groups: dict[str, dict[str, Path]] = {}
    for folder in (CONFIGS, *folders):
        if not folder.is_dir():
            raise ConfigError(f"--config-dir {folder}: no such folder")
        for file in sorted(folder.glob("*/*.yaml")):
            groups.setdefault(file.parent.name, {})[file.stem] = file
    return groups


def summary(file: Path) -> str:
    """The one-line comment a configuration file begins with, wherever its directives stand."""
    comments = (line[1:].strip() for line in file.read_text().splitlines() if line[:1] == "#")
    return next((text for text in comments if text and not text.startswith("@package")), "")


def _swept(
    base: Run, typed: Sequence[str], folders: Sequence[Path], memory: Memory
) -> Iterator[Run]:
    grids = base.config["sweep"]
    if not grids:
        yield base
    for chosen in points(grids, typed):
        run = compose_one([*typed, *chosen, "sweep=[]"], folders, memory)
        yield dataclasses.replace(run, overrides=(*typed, *chosen))


def _products(
    overrides: Sequence[str], groups: Mapping[str, Mapping[str, Path]]
) -> Iterator[list[str]]:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    lists: list[list[str]] = []
    for text in overrides:
        _refuse_hydra(text)
        try:
            parsed = parser.parse_override(text)
        except HydraException as error:
            raise ConfigError(f"{text!r} is no override: {_first_lines(error)}") from error
        values = [text]
        if parsed.is_sweep_override():
            prefix = text[: text.index("=") + 1]
            values = [f"{prefix}{value}" for value in _choices(text, parsed)]
        lists.append(values)
        for value in values:
            _check_option(value, groups)
    yield from (list(product) for product in itertools.product(*lists))


def _check_option(text: str, groups: Mapping[str, Mapping[str, Path]]) -> None:
    key, _, value = text.partition("=")
    name = key.lstrip("+~").partition("@")[0]
    if name in groups and value not in groups[name] and not text.startswith("~"):
        raise ConfigError(f"{name}={value}: no such option{suggest(value, groups[name])}")


def _normalised(text: str, groups: Mapping[str, Mapping[str, Path]]) -> str:
    # Whether a key stands in the defaults list, in a YAML file, or only in a signature is our
    # business, not the user's: the prefix Hydra needs is derived, and `check` knows what is valid.
    if text.startswith("~"):
        return text
    key, _, value = text.partition("=")
    name = key.lstrip("+")
    if name.partition("@")[0] in groups:
        _check_option(text, groups)
        return f"+{name}={value}" if name in ADDED_GROUPS else f"{name}={value}"
    return f"++{name}={value}"


def _refuse_hydra(text: str) -> None:
    key = key_of(text)
    if key in HYDRA_KEYS or key.startswith(("hydra.", "hydra/")):
        raise ConfigError(
            f"{text}: this program does not use Hydra's launchers, sweepers and run folders; "
            "use `executor=` for where fits run and `runtime.store=` for where results go"
        )


def refuse_repetition(overrides: Sequence[str]) -> None:
    """Raise ConfigError for a key that is typed twice: one of its values would be ignored."""
    keys = [key_of(text) for text in overrides]
    for key in keys:
        if keys.count(key) > 1:
            given = " ".join(text for text in overrides if key_of(text) == key)
            raise ConfigError(f"{given}: {key} is given more than once; only one can count")


def _choices(text: str, parsed: Any) -> list[str]:
    from hydra.errors import HydraException

    try:
        return list(parsed.sweep_string_iterator())
    except HydraException as error:
        raise ConfigError(f"{text}: only lists, `range` and `choice` can be swept") from error


def _reason(error: Exception) -> str:
    """Hydra's own message; where it merely says which override failed, also why."""
    text = _first_lines(error)
    if "No match in the defaults list" in text:
        place = text.split("'")[1]
        return (
            f"{place}: nothing is chosen there that could be replaced; groups inside others are "
            "chosen as GROUP@PLACE=OPTION, such as prune@method.prune=lamp for methods that prune"
        )
    if "Could not override" in text:
        return text.partition(" To append")[0]
    cause = error.__cause__
    return f"{text}: {_first_lines(cause)}" if isinstance(cause, Exception) else text


def _first_lines(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])
