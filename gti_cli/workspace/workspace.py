"""The workspace: a folder where stages meet in files, each with a manifest that says from what it was made.

A stage runs inside `Workspace.stage`. Its outputs go to a staging folder and are moved into place once they are all
there, manifest last, so a kill at any moment leaves either the old outputs or the new ones. The move is a redo log:
a staging folder that holds ``COMMIT.json`` is complete and is rolled forward by whoever opens the workspace next.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gti_cli import console
from gti_cli.errors import InputError
from gti_cli.workspace import processes
from gti_cli.workspace.clock import RunClock
from gti_cli.workspace.manifest import CHECKPOINT_MANIFEST, Manifest, describe_inputs, digest_path, read_manifest
from gti_cli.workspace.refusals import check_inputs_stay, refuse_to_replace
from gti_cli.workspace.staging import StageRequest, StageRun, check_figures, left_over, share, write_json


class Workspace:
    """A folder of artifacts. See the module's text; ``root`` is made when the first stage writes."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def path(self, name: str) -> Path:
        """The path of a file or folder in the workspace."""
        return self.root / name

    def manifest_path(self, name: str) -> Path:
        """Where the manifest of artifact ``name`` lies: inside a checkpoint folder, beside everything else."""
        inside = self.root / name / CHECKPOINT_MANIFEST
        return inside if inside.exists() else self.root / f"{name}.json"

    def manifest(self, name: str) -> Manifest | None:
        """The manifest of artifact ``name`` (e.g. ``"grounded"``, ``"evaluation/NAME"``), if it is there."""
        path = self.manifest_path(name)
        return read_manifest(path) if path.is_file() else None

    def _readable(self, name: str) -> Manifest | None:
        try:
            return self.manifest(name)
        except InputError:
            return None

    def require(self, name: str, made_by: str) -> Manifest:
        """The manifest of an artifact that a stage builds on, its files checked against it.

        Raises:
            InputError: it is not there, a file is missing, or a file was edited since.
        """
        manifest = self.manifest(name)
        if manifest is None:
            raise InputError(f"{self.path(name)} is not there", remedy=f"run {made_by!r} first (workspace {self.root})")
        for output, digest in manifest.outputs.items():
            path = self.root / output
            if not path.exists():
                raise InputError(f"{path} is missing though its manifest lists it", remedy=f"run '{made_by} --force'")
            if digest_path(path, skip=CHECKPOINT_MANIFEST) != digest:
                raise InputError(
                    f"{path} was changed after {made_by!r} wrote it",
                    remedy=f"restore it or run '{made_by} --force', then the stages after it",
                )
        return manifest

    def manifests(self) -> dict[str, Manifest]:
        """All artifacts with a readable manifest, by name, in the order in which they were made."""
        found: dict[str, Manifest] = {}
        for path in self.manifest_files():
            try:
                manifest = read_manifest(path)
            except InputError:
                continue  # some other JSON file
            found[manifest.name] = manifest
        return dict(sorted(found.items(), key=lambda entry: (entry[1].run.get("finished", ""), entry[0])))

    def manifest_files(self) -> list[Path]:
        """The JSON files that lie where manifests do; some may be something else."""
        inside = [
            path
            for path in sorted(self.root.glob("*/*.json"))
            if path.name == CHECKPOINT_MANIFEST or path.parent.name in _GROUPS
        ]
        return sorted(self.root.glob("*.json")) + inside

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other writers out; finishes what a killed writer had completed.

        Raises:
            InputError: another process writes in this workspace.
        """
        from filelock import FileLock, Timeout

        state = self.root / ".gti"
        try:
            state.mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            raise InputError(f"cannot write in the workspace: {cause.strerror}", where=str(self.root)) from cause
        lock = FileLock(state / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise InputError(
                "another gti process is writing in this workspace",
                where=str(self.root),
                remedy="wait for it, or use another --workspace",
            ) from None
        except OSError as cause:  # the folder is there, and read-only
            problem = f"cannot write in the workspace: {cause.strerror or cause}"
            raise InputError(problem, where=str(self.root), remedy="make it writable") from cause
        try:
            for complete in sorted(state.glob("staging/*/COMMIT.json")):
                self._roll_forward(complete.parent)
            yield
        finally:
            lock.release()

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
    ) -> Iterator[StageRun]:
        """Run a stage: yields a `StageRun`; on leaving without an error its outputs are moved into place.

        Args:
            command: the subcommand, e.g. ``"build-ids"``.
            name: the artifact's name, e.g. ``"semantic_ids"`` or ``"evaluation/finetuned"``.
            outputs: files or folders below the workspace that the stage writes; with ``checkpoint`` just ``[name]``.
            options: every option that changes the result, resolved, as JSON values.
            inputs: files and folders outside the workspace that were read, by role; digested. None values are dropped.
            upstream: manifests of the artifacts built on, by name (from `require`).
            force: replace finished outputs made with other inputs or options. resume: go on with interrupted work.
            checkpoint: the manifest goes into the folder ``name`` as ``gti.json``.

        Raises:
            InputError: finished outputs from other inputs or options, without ``force``; an input where an output goes;
                or a locked workspace.
        """
        asked = StageRequest(
            command,
            name,
            outputs,
            options=json.loads(json.dumps(dict(options), sort_keys=True, allow_nan=False)),
            seed=seed,
            inputs=describe_inputs(inputs or {}),
            upstream={key: manifest.identity for key, manifest in (upstream or {}).items()},
            checkpoint=checkpoint,
        )
        check_inputs_stay(self.root, asked)
        staging = self.root / ".gti" / "staging" / name.replace("/", "--")
        if processes.rank() > 0:
            with self._follow(staging, name) as run:
                yield run
            return
        with self.lock():
            run = self._begin(asked, staging, force, resume)
            if run.done:
                yield run
                return
            with self._committed(asked, run, staging):
                yield run

    @contextmanager
    def _committed(self, asked: StageRequest, run: StageRun, staging: Path) -> Iterator[None]:
        """Time the stage, then move its outputs into place; an error leaves only what lets the next run resume."""
        try:
            with run.clock:
                yield
            check_figures(asked, run)
        except BaseException:
            keep = any(run.scratch.iterdir())
            shutil.rmtree(run.folder if keep else staging, ignore_errors=True)
            raise
        run.manifest = asked.manifest(run)
        self._commit(run, run.manifest, staging, asked.manifest_path)

    def _begin(self, asked: StageRequest, staging: Path, force: bool, resume: bool) -> StageRun:
        """The run that `stage` yields on the first process, whose decision the others are told."""
        # A damaged manifest is no reason to stop where --force makes the artifact anew, as its error advises.
        existing = self._readable(asked.name) if force else self.manifest(asked.name)
        if existing is not None and existing.request == asked.digest and self._intact(existing):
            at = self.path(asked.name)
            console.note(f"{asked.command}: {at} is up to date (same inputs and options); nothing to do")
            processes.announce(staging.parent.parent, staging.name, {"done": True, "manifest": existing.to_json()})
            return StageRun(True, staging, staging / "scratch", False, RunClock(), manifest=existing)
        if not force:
            refuse_to_replace(self.root, asked, existing)
        run = self._open_staging(staging, asked.payload(), resume)
        processes.announce(staging.parent.parent, staging.name, {"done": False, "resuming": run.resuming})
        return run

    def _commit(self, run: StageRun, manifest: Manifest, staging: Path, manifest_path: str) -> None:
        """Move the outputs into place; killed from here on, the next command does the rest."""
        share(run.folder)
        stale = left_over(self.root, self._readable(manifest.name), manifest)
        commit = {"manifest_path": manifest_path, "manifest": manifest.to_json(), "remove": stale}
        write_json(staging / "COMMIT.json", commit)
        self._roll_forward(staging)

    @contextmanager
    def _follow(self, staging: Path, name: str) -> Iterator[StageRun]:
        """A process other than the first of a launch: shares its decision and scratch, keeps no output of its own."""
        decision = processes.await_decision(staging.parent.parent, staging.name)
        if decision["done"]:
            manifest = Manifest.from_json(decision["manifest"])
            yield StageRun(True, staging, staging / "scratch", False, RunClock(), manifest=manifest)
            return
        folder = staging.parent.parent / "followers" / f"{processes.rank()}-{staging.name}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        run = StageRun(False, folder, staging / "scratch", decision["resuming"], RunClock())
        try:
            yield run
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        run.manifest = Manifest(
            name, "", {}, 0, {}, {}, {}, run.details, run.counts, run.metrics, "", {"device": run.device}
        )

    def _intact(self, manifest: Manifest) -> bool:
        return all(
            (self.root / output).exists() and digest_path(self.root / output, skip=CHECKPOINT_MANIFEST) == digest
            for output, digest in manifest.outputs.items()
        )

    def _open_staging(self, staging: Path, request: Mapping[str, Any], resume: bool) -> StageRun:
        marker = staging / "REQUEST.json"
        same = marker.is_file() and json.loads(marker.read_text("utf-8")) == json.loads(json.dumps(request))
        scratch = staging / "scratch"
        resuming = resume and same and scratch.is_dir() and any(scratch.iterdir())
        if not resuming:
            shutil.rmtree(staging, ignore_errors=True)
        folder = staging / "files"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        scratch.mkdir(exist_ok=True)
        if resuming:
            console.note(f"resuming interrupted work in {scratch}")
        write_json(marker, request)
        return StageRun(False, folder, scratch, resuming, RunClock(staging / "TIME.json"))

    def _roll_forward(self, staging: Path) -> None:
        """Move a complete staging folder into place; safe to repeat after a kill at any point."""
        commit = json.loads((staging / "COMMIT.json").read_text("utf-8"))
        for output in commit["manifest"]["outputs"]:
            made, place = staging / "files" / output, self.root / output
            if not made.exists():
                continue  # moved before the kill
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.is_dir():
                shutil.rmtree(place)
            made.replace(place)
        for stale in commit.get("remove", []):
            _remove(self.root / stale)
        target = self.root / commit["manifest_path"]
        write_json(target, commit["manifest"])
        (staging / "COMMIT.json").unlink()
        shutil.rmtree(staging, ignore_errors=True)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


_GROUPS = ("evaluation", "diagnostics")
_RESERVED = (*_GROUPS, "semantic_ids", "extended", "items", "embeddings", "codebooks")


def check_output_name(name: str, *, default: str, start: str | None = None) -> None:
    """Check a ``--name`` before anything is written.

    Args:
        name: of the output's folder. default: the stage's own, which is always allowed.
        start: the artifact that the stage starts from, which it must not replace.

    Raises:
        InputError: no plain folder name (it could lie outside the workspace), another stage's, or that of ``start``.
    """
    plain = re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name)
    if not plain or (name in _RESERVED and name != default):
        raise InputError(f"--name {name!r} cannot be used", remedy=f"give a plain folder name such as {default}")
    if name == start:
        raise InputError(f"--name {name!r} is the checkpoint to start from", remedy="give the output another name")
