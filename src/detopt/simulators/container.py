"""A program in a container: Docker, Podman or Apptainer."""

__all__ = ["RUNTIMES", "Container"]

import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detopt.errors import ConfigError
from detopt.simulators.command import fill, split_words
from detopt.simulators.files import Limits, exchange
from detopt.simulators.process import GIGABYTE, Launch, run_program

INSIDE = Path("/detopt")  # where the folder of a call lies in the container
RUNTIMES = ("docker", "podman", "apptainer")


@dataclass(frozen=True)
class Container:
    """A simulator that is a program in a container image.

    The folder of a call lies at `/detopt` in the container, the only place where the program can
    write; `{design}`, `{result}` and `{folder}` are paths there. Docker and Podman give it no
    network and no rights but those of the user. When the time is over the container is killed.

    >>> box = Container("geant4:11.3", "/app/simulate {design} {result}", runtime="podman")
    >>> box.arguments(Path("/tmp/call"), 7, 100, "one")[:3]
    ('podman', 'run', '--rm')

    Args:
        image: Name of the image, or for Apptainer also the path of a `.sif` file.
        command: Program and arguments in the container, see `detopt.simulators.Command`.
        runtime: `docker`, `podman` or `apptainer`.
        limits: Time, memory, retries and logs; Docker and Podman limit the memory of the whole
            container, Apptainer that of each process.
        mounts: Further folders, read-only: their path in the container by their path here.
        environment: Variables in the container.
        extra: Further arguments of the runtime, such as `--gpus=all`.

    Raises:
        ConfigError: The runtime is unknown, the image is empty, or the command lacks a place.
    """

    image: str
    command: str | Sequence[str]
    runtime: str = "docker"
    limits: Limits = field(default_factory=Limits)
    mounts: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    extra: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.runtime not in RUNTIMES:
            raise ConfigError(
                f"`runtime` must be one of {', '.join(RUNTIMES)}; got {self.runtime!r}."
            )
        if not self.image:
            raise ConfigError("`image` is empty. Name the container image.")
        split_words(self.command)

    def __call__(
        self,
        design: Mapping[str, Any],
        seed: int,
        n_events: int,
        units: Mapping[str, str] | None = None,
    ) -> object:
        """What the result file holds.

        Raises:
            NotFoundError: The runtime is not installed.
            SimulationError: The program failed, took too long, or wrote no complete result.
        """

        def run(call: Path) -> None:
            name = f"detopt-{uuid.uuid4().hex[:12]}"
            launch = Launch(
                self.arguments(call, seed, n_events, name),
                call,
                stop=() if self.runtime == "apptainer" else (self.runtime, "kill", name),
                limits_memory=self.runtime == "apptainer",
            )
            run_program(launch, call, self.limits)

        return exchange(run, design, seed, n_events, units or {}, self.limits)

    def arguments(self, call: Path, seed: int, n_events: int, name: str) -> tuple[str, ...]:
        """The command line of a call.

        Args:
            call: Folder of the call.
            seed: Seed of the call.
            n_events: Events that are wanted.
            name: Name of the container.
        """
        inner = fill(split_words(self.command), INSIDE, seed, n_events)
        if self.runtime == "apptainer":
            return (*self._apptainer(call), *self.extra, self.image, *inner)
        return (*self._docker(call, name), *self.extra, self.image, *inner)

    def _docker(self, call: Path, name: str) -> tuple[str, ...]:
        words = [self.runtime, "run", "--rm", "--init", f"--name={name}", "--network=none"]
        words += [f"--user={os.getuid()}:{os.getgid()}"]
        if self.runtime == "podman":
            words.append("--userns=keep-id")
        if self.limits.memory is not None:
            words.append(f"--memory={int(self.limits.memory * GIGABYTE)}b")
        words += [f"--volume={call}:{INSIDE}", f"--workdir={INSIDE}"]
        words += [
            f"--volume={Path(here).resolve()}:{there}:ro" for here, there in self.mounts.items()
        ]
        words += [f"--env={key}={value}" for key, value in self.environment.items()]
        return tuple(words)

    def _apptainer(self, call: Path) -> tuple[str, ...]:
        words = ["apptainer", "exec", "--containall", f"--bind={call}:{INSIDE}", f"--pwd={INSIDE}"]
        words += [
            f"--bind={Path(here).resolve()}:{there}:ro" for here, there in self.mounts.items()
        ]
        words += [f"--env={key}={value}" for key, value in self.environment.items()]
        return tuple(words)
