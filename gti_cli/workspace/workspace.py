"""The workspace: a folder of artifacts, each with a manifest that says from what it was made.

A stage runs inside the block of `Workspace.stage`. It writes to a staging folder; when it has finished, its outputs are
moved into place and the manifest is written last. A kill at any moment leaves either the old outputs or the new ones
(see `gti_cli.workspace.commit`).

A stage that is finished, with the same request and unchanged outputs, does nothing when it is run again without
``force``: `Workspace._begin` decides that, and whether an interrupted run is resumed (`_open_staging`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gti_cli import console
from gti_cli.errors import InputError
from gti_cli.workspace import lock, processes
from gti_cli.workspace.clock import RunClock
from gti_cli.workspace.commit import FILES, commit, is_committed, pending_commits
from gti_cli.workspace.files import write_json
from gti_cli.workspace.inputs import describe_inputs
from gti_cli.workspace.manifest import CHECKPOINT_MANIFEST, Manifest, is_unchanged, read_manifest
from gti_cli.workspace.names import GROUPS
from gti_cli.workspace.refusals import refuse_links, refuse_to_overwrite_inputs, refuse_to_replace
from gti_cli.workspace.stage_run import StageRequest, StageRun, check_finite


class Workspace:
    """A folder of artifacts.

    Args:
        root: The folder; it is made when the first stage writes. What a killed process had committed there, but not
            moved, is moved first, so that nobody reads one half of it.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        if processes.rank() == 0 and pending_commits(self.root):
            with suppress(InputError), self.lock():  # another process is writing, or the folder is read-only
                pass

    def path(self, name: str) -> Path:
        """Return the path of a file or folder in the workspace."""
        return self.root / name

    def manifest_path(self, name: str) -> Path:
        """Return where the manifest of an artifact lies: inside a checkpoint's folder, beside everything else."""
        inside = self.root / name / CHECKPOINT_MANIFEST
        return inside if inside.exists() else self.root / f"{name}.json"

    def manifest(self, name: str) -> Manifest | None:
        """Return the manifest of an artifact (``"grounded"``, ``"evaluation/NAME"``); None if there is no such file."""
        path = self.manifest_path(name)
        return read_manifest(path) if path.is_file() else None

    def manifest_if_readable(self, name: str) -> Manifest | None:
        """Return the manifest of an artifact; None where there is none, or a damaged one (``--force`` replaces it)."""
        try:
            return self.manifest(name)
        except InputError:
            return None

    def require(self, name: str, made_by: str) -> Manifest:
        """Return the manifest of an artifact that a stage starts from, after checking its files.

        Args:
            name: The name of the artifact.
            made_by: The command that makes it, for the error line.

        Raises:
            InputError: When the artifact does not exist.
            InputError: When one of its files is missing or was edited.
        """
        manifest = self.manifest(name)
        if manifest is None:
            raise InputError(
                f"{self.path(name)} does not exist", remedy=f"run {made_by!r} first (workspace {self.root})"
            )
        for output, digest in manifest.outputs.items():
            path = self.root / output
            if not path.exists():
                raise InputError(f"{path} is missing though its manifest lists it", remedy=f"run '{made_by} --force'")
            if not is_unchanged(path, digest):
                raise InputError(
                    f"{path} was changed after {made_by!r} wrote it",
                    remedy=f"restore it or run '{made_by} --force', then the stages after it",
                )
        return manifest

    def manifests(self) -> dict[str, Manifest]:
        """Return all readable manifests by artifact name, in the order in which the artifacts were made."""
        manifests: dict[str, Manifest] = {}
        for path in self.manifest_files():
            try:
                manifest = read_manifest(path)
            except InputError:
                continue  # some other JSON file
            manifests[manifest.name] = manifest
        return dict(sorted(manifests.items(), key=lambda entry: (entry[1].run.get("finished", ""), entry[0])))

    def manifest_files(self) -> list[Path]:
        """Return the JSON files that lie where manifests lie; some may be something else."""
        below = [
            path
            for path in sorted(self.root.glob("*/*.json"))
            if path.name == CHECKPOINT_MANIFEST or path.parent.name in GROUPS
        ]
        return sorted(self.root.glob("*.json")) + below

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other writers out inside the block, which takes moments; see `gti_cli.workspace.lock`.

        Raises:
            InputError: When another process keeps writing in this workspace, the folder cannot be written, or one of
                its folders is a symbolic link.
        """
        refuse_links(self.root)
        with lock.writing(self.root):
            yield

    @contextmanager
    def stage(
        self,
        command: str,
        name: str,
        outputs: Sequence[str],
        *,
        options: Mapping[str, Any],
        inputs: Mapping[str, Path | str | None] | None = None,
        upstream: Mapping[str, Manifest] | None = None,
        seed: int = 0,
        force: bool = False,
        resume: bool = True,
        checkpoint: bool = False,
        describe: Callable[[Manifest, Path], None] | None = None,
    ) -> Iterator[StageRun]:
        """Run a stage inside the block; on leaving it without an error, its outputs are moved into place.

        Args:
            command: The subcommand, e.g. ``"build-ids"``.
            name: The artifact's name, e.g. ``"semantic_ids"`` or ``"evaluation/finetuned"``.
            outputs: The files or folders that the stage writes, relative to the workspace; ``[name]`` for a checkpoint.
            options: Every option that changes the result, as JSON values, with defaults filled in.
            inputs: The files and folders from outside the workspace that the stage reads, by role. Their contents are
                digested. None values are ignored.
            upstream: The manifests of the artifacts that the stage starts from, by name (see `require`).
            seed: The seed of everything random.
            force: Make finished outputs again, and replace those that were made from other inputs or with other
                options.
            resume: Continue interrupted work that was started with the same inputs and options.
            checkpoint: Whether the manifest goes into the folder ``name``, as ``gti.json``.
            describe: Writes the model card of a checkpoint. Called with the finished manifest and the checkpoint's
                folder, before that is moved into place.

        Yields:
            The run. When its ``done`` is true, the stage has nothing to do.

        Raises:
            InputError: When finished outputs from other inputs or options exist and ``force`` is false.
            InputError: When an output would overwrite an input.
            InputError: When another process makes this artifact, reads it, or makes one that this stage reads.
        """
        request = StageRequest(
            command,
            name,
            outputs,
            options=json.loads(json.dumps(dict(options), sort_keys=True, allow_nan=False)),
            seed=seed,
            inputs=describe_inputs(inputs or {}),
            upstream={key: manifest.identity for key, manifest in (upstream or {}).items()},
            checkpoint=checkpoint,
        )
        refuse_to_overwrite_inputs(self.root, request)
        staging = self.root / ".gti" / "staging" / name.replace("/", "--")
        if processes.rank() > 0:
            with self._run_on_other_process(staging, name) as run:
                yield run
            return
        refuse_links(self.root)
        with lock.making(self.root, name, request.upstream):
            run = self._begin(request, staging, force, resume)
            if run.done:
                yield run
                return
            with self._finishing(request, run, staging, describe):
                yield run

    def _begin(self, request: StageRequest, staging: Path, force: bool, resume: bool) -> StageRun:
        """Decide on the first process whether the outputs are finished, and announce it to the other processes.

        They are where the manifest has the digest of this request and the files are those that it lists. ``force``
        makes them again all the same: another device, library or version may give other results. Outputs of another
        request are refused without ``force``. Interrupted work of the same request is resumed with ``resume``.
        """
        # The error about a damaged manifest advises --force, so --force must not fail on it.
        existing = self.manifest_if_readable(request.name) if force else self.manifest(request.name)
        state = self.root / ".gti"
        processes.remove_leftovers(state)
        same = existing is not None and existing.request == request.digest and self._is_unchanged(existing)
        if existing is not None and same and not force:
            shutil.rmtree(staging, ignore_errors=True)  # a kill right after the commit left it
            path = self.path(request.name)
            console.note(f"{request.command}: {path} is up to date (same inputs and options); nothing to do")
            processes.announce(state, staging.name, {"done": True, "manifest": existing.to_json()})
            return _finished_run(staging, existing)
        if not force:
            refuse_to_replace(self.root, request, existing)
        run = _open_staging(staging, request.payload(), resume)
        processes.announce(state, staging.name, {"done": False, "resuming": run.resuming})
        return run

    @contextmanager
    def _finishing(
        self,
        request: StageRequest,
        run: StageRun,
        staging: Path,
        describe: Callable[[Manifest, Path], None] | None,
    ) -> Iterator[None]:
        """Time the block and commit its outputs; after an error keep only what the next run needs to resume."""
        try:
            with run.clock:
                yield
            check_finite(request, run)
            run.manifest = request.manifest(run)
            if describe is not None:
                describe(run.manifest, run.path(request.name))
            replaced = self.manifest_if_readable(request.name)
            with self.lock():
                commit(self.root, staging, run.manifest, request.manifest_path, replaced)
        except BaseException:
            if not is_committed(staging):  # what is committed, the next command moves into place
                can_resume = run.scratch.is_dir() and any(run.scratch.iterdir())
                shutil.rmtree(run.folder if can_resume else staging, ignore_errors=True)
            raise

    @contextmanager
    def _run_on_other_process(self, staging: Path, name: str) -> Iterator[StageRun]:
        """Run a stage on a process other than the first.

        The process follows the decision of the first and shares its scratch folder. It writes its outputs to a folder
        of its own, which is removed at the end, because the first process keeps the result.
        """
        state = self.root / ".gti"
        decision = processes.await_decision(state, staging.name)
        if decision["done"]:
            yield _finished_run(staging, Manifest.from_json(decision["manifest"]))
            return
        folder = state / processes.FOLLOWERS / f"{processes.rank()}-{staging.name}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        run = StageRun(False, folder, staging / "scratch", decision["resuming"], RunClock())
        try:
            yield run
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        run.manifest = Manifest.placeholder(
            name, details=run.details, counts=run.counts, metrics=run.metrics, run={"device": run.device}
        )

    def _is_unchanged(self, manifest: Manifest) -> bool:
        return all(
            (self.root / output).exists() and is_unchanged(self.root / output, digest)
            for output, digest in manifest.outputs.items()
        )


def _finished_run(staging: Path, manifest: Manifest) -> StageRun:
    """Return the run of a stage whose outputs exist already."""
    return StageRun(True, staging, staging / "scratch", False, RunClock(), manifest=manifest)


def _open_staging(staging: Path, request: Mapping[str, Any], resume: bool) -> StageRun:
    """Prepare the staging folder, and keep its scratch folder if that holds work of the same request."""
    if staging.is_symlink():
        staging.unlink()  # nothing is written, or removed, where somebody's link points to
    marker = staging / "REQUEST.json"
    same = marker.is_file() and json.loads(marker.read_text("utf-8")) == json.loads(json.dumps(request))
    scratch = staging / "scratch"
    resuming = resume and same and scratch.is_dir() and any(scratch.iterdir())
    if not resuming:
        shutil.rmtree(staging, ignore_errors=True)
    folder = staging / FILES
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
        scratch.mkdir(exist_ok=True)
        write_json(marker, request)
    except BaseException:  # a full disk, or Ctrl-C
        shutil.rmtree(folder if resuming else staging, ignore_errors=True)
        raise
    if resuming:
        console.note(f"resuming interrupted work in {scratch}")
    return StageRun(False, folder, scratch, resuming, RunClock(staging / "TIME.json"))
