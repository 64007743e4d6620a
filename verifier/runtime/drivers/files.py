"""The ``files`` driver: a versioned folder for each generation, a link to the current one, a service kept running.

srv/<step>/<generation>/              the files, checked one by one
srv/<step>/<generation>.config.json   the site's configuration for it
srv/<step>/<generation>.launch.json   how its service is started
srv/<step>/current -> <generation>
data/<name>/                          what the service keeps; outlives versions
"""

import os
import pwd
import re
import shlex
import stat
from pathlib import Path
from typing import Literal

from manifests.authored.site_yaml import FILL_IN, FilesDriverFile
from manifests.documents.release import FileSet, InstallStep
from manifests.documents.report_condition import ComponentReason
from manifests.words.canonical import encode, parse
from manifests.words.errors import MalformedError, RefusedError, WaybillError
from manifests.words.units import show_count
from verifier.runtime.drivers.driver import (
    ABSENT,
    Component,
    DriverContext,
    DriverPlan,
    read_settings,
    settings_error,
    step_error,
    under_site,
)
from verifier.runtime.drivers.folder import (
    BLOCK,
    FolderContent,
    blocks_of,
    build_folder,
    check_sets,
    file_set_digest,
    host_errors,
    observe_file_sets,
    parents,
    remove_folder,
)
from verifier.runtime.drivers.service import (
    Keeper,
    LaunchRecord,
    Service,
    ServiceAccount,
    ServiceStatus,
    check_own_program,
    check_path,
    environment,
    find_program,
)
from verifier.runtime.drivers.systemd import Systemd, is_usable
from verifier.runtime.saved_data import DATA, data_name
from verifier.runtime.setup import SetupFinding, look
from verifier.site.disk import Disk

MAX_LAUNCH = 1 << 20
_REASONS: dict[str, ComponentReason] = {"failing": "failing", "stopped": "stopped"}
_GENERATION = re.compile(r"[1-9][0-9]{0,15}")


class FilesDriver:
    name = "files"

    def plan(self, step: InstallStep, context: DriverContext) -> DriverPlan:
        """Return the plan. Raises RefusedError when the step, the file sets or the settings do not fit the driver."""
        sets = _sets(step, context)
        where = f"release.json install step {step.step}"
        if step.images or step.chart or step.migration or not sets:
            raise step_error("the driver 'files' takes file sets, and at most one program to keep running", where)
        check_sets(sets, where)
        settings = read_settings(context, self.name, FilesDriverFile)
        base = _base(context, step)
        entries = [entry for files in sets for entry in files.entries]
        folders = {parent for entry in entries for parent in parents(entry.path)}
        count = show_count(len(entries), "file")
        activation = [f"point {base}/current at {context.generation}"]
        deactivation = [f"remove {base}/current"]
        if step.keep_running is not None:
            if "/" in step.keep_running[0]:
                check_own_program(step.keep_running[0], sets)
            check_path(base)
            deactivation.insert(0, "stop the service")
            activation.append(
                f"keep running by {_keeper_name(settings)}, as {settings.user or 'this account'}: "
                + shlex.join(step.keep_running)
            )
        return DriverPlan(
            step=step,
            bytes_needed=blocks_of(entry.size for entry in entries)
            + BLOCK * (len(folders) + 8)
            + len(context.config or b""),
            inodes_needed=len(entries) + len(folders) + 16,
            staging=(f"put {count} into {base / str(context.generation)}",),
            activation=tuple(activation),
            deactivation=tuple(deactivation),
        )

    def check(self, plan: DriverPlan, context: DriverContext) -> tuple[SetupFinding, ...]:
        """Look for the account, its way to the site's folder, the service's program and its keeper."""
        settings = read_settings(context, self.name, FilesDriverFile)
        findings = look(lambda: _check_account(context, settings.user))
        if plan.step.keep_running is None:
            return findings
        word, sets = plan.step.keep_running[0], _sets(plan.step, context)
        add = {"drivers": {"files": {"programs": {word: FILL_IN}}}} if "/" not in word else {}
        findings += look(lambda: find_program(word, context.site, sets, settings.programs, context.search_path), add)
        return findings + look(lambda: _check_keeper(context, settings))

    def stage(self, plan: DriverPlan, context: DriverContext) -> None:
        """1. Build the folder beside its place and rename it; 2. write the configuration; 3. write the start record."""
        base = _base(context, plan.step)
        with host_errors(base):
            disk = context.disk
            settings = read_settings(context, self.name, FilesDriverFile)
            sets = _sets(plan.step, context)
            folder = base / str(context.generation)
            disk.make_folder(base, exact=True)
            staging = _staging(base, context)
            disk.remove_tree(staging)
            if not _is_whole(folder, sets):
                try:
                    build_folder(disk, context.blobs, sets, staging)
                except (WaybillError, OSError):
                    disk.remove_tree(staging)
                    raise
                remove_folder(disk, folder)
                disk.rename(staging, folder)
                disk.sync_folder(base)
            owner = _account(settings.user)
            if owner is not None:
                # The folders that Waybill makes on the way; those above them are the operator's.
                made = [path for path in (base, *base.parents) if path == base or context.site in path.parents]
                _open_folders(disk, made, owner)
                _check_access(folder, owner)
            if context.config is not None:
                _write_if_changed(context, _config_path(base, context), context.config, 0o600, owner)
            if plan.step.keep_running is not None:
                data = context.site / DATA / data_name(plan.step)
                disk.make_folder(data.parent)
                disk.make_folder(data, 0o700, exact=True)
                if owner is not None:
                    _open_folders(disk, [data.parent], owner)
                _set_owner(context, data, owner)
                record = self._record(plan.step, context, settings, folder, data)
                _write_if_changed(context, _launch_path(base, context.generation), encode(record), 0o644, None)

    def activate(self, plan: DriverPlan, context: DriverContext) -> None:
        """Stop the service of another generation, point the link to this one, start its service."""
        step = plan.step
        base = _base(context, step)
        service = _service(context, step)
        former = _current(base)
        if former is not None and former != context.generation:
            old = _recorded_service(context, step, former)
            # A keeper stops the step's other generations when it starts one, but not those of another keeper.
            if old is not None and (service is None or service.record.keeper != old.record.keeper):
                _keeper_of(context, old).stop(old)
        with host_errors(base):
            context.disk.point(base / "current", str(context.generation))
        if service is not None:
            _keeper_of(context, service).start(service)

    def deactivate(self, plan: DriverPlan, context: DriverContext) -> None:
        """Stop the service and remove the link, if they are this generation's."""
        step = plan.step
        base = _base(context, step)
        if (service := _recorded_service(context, step, context.generation)) is not None:
            _keeper_of(context, service).stop(service)
        if _current(base) == context.generation:
            with host_errors(base):
                context.disk.remove(base / "current")
                context.disk.sync_folder(base)

    def observe(self, plan: DriverPlan, context: DriverContext) -> tuple[Component, ...]:
        step = plan.step
        sets = _sets(step, context)
        base = _base(context, step)
        current = _current(base)
        if current != context.generation:
            named = "no generation" if current is None else f"generation {current}"
            seen = {files.name: FolderContent(ABSENT, f"{base}/current names {named}") for files in sets}
        else:
            seen = observe_file_sets(base / str(context.generation), sets)
        status = self._status(context, step)
        return tuple(
            Component(
                name=files.name,
                expected=file_set_digest(files),
                observed=seen[files.name].observed,
                level="running" if status is not None and status.state == "running" else "placed",
                step=step.step,
                wanted="placed" if status is None else "running",
                detail="; ".join(filter(None, (seen[files.name].detail, status.detail if status else None))) or None,
                reason=_REASONS.get(status.state) if status else None,
                restarts=status.restarts if status else 0,
            )
            for files in sets
        )

    def discard(self, plan: DriverPlan, context: DriverContext) -> None:
        base = _base(context, plan.step)
        if _current(base) == context.generation:
            raise RefusedError(
                f"generation {context.generation} is the current one",
                where=str(base),
                remedy="install another release, or run `waybill rollback`, first",
            )
        with host_errors(base):
            for path in (_staging(base, context), base / str(context.generation)):
                remove_folder(context.disk, path)
            for path in (_config_path(base, context), _launch_path(base, context.generation)):
                context.disk.remove(path)

    def _record(
        self, step: InstallStep, context: DriverContext, settings: FilesDriverFile, folder: Path, data: Path
    ) -> LaunchRecord:
        assert step.keep_running is not None
        sets = _sets(step, context)
        program = find_program(step.keep_running[0], folder, sets, settings.programs, context.search_path)
        return LaunchRecord(
            argv=(program, *step.keep_running[1:]),
            environment=environment(
                step,
                folder=folder,
                data=data,
                version=context.release.version,
                config=None if context.config is None else _config_path(folder.parent, context),
                search_path=context.search_path,
            ),
            folder=str(folder),
            keeper=_keeper_name(settings),
            account=_account(settings.user),
        )

    def _status(self, context: DriverContext, step: InstallStep) -> ServiceStatus | None:
        """Return the state of the service; None where the step keeps nothing running."""
        if step.keep_running is None:
            return None
        try:
            service = _service(context, step)
            assert service is not None
            return _keeper_of(context, service).status(service)
        except (WaybillError, OSError) as error:
            return ServiceStatus("unknown", str(error))


def placed_folder(step: InstallStep, context: DriverContext) -> Path | None:
    """Return the folder of this generation; None if it is not the current one."""
    base = _base(context, step)
    return base / str(context.generation) if _current(base) == context.generation else None


def _sets(step: InstallStep, context: DriverContext) -> tuple[FileSet, ...]:
    return tuple(context.release.file_set(name) for name in step.files)


def _base(context: DriverContext, step: InstallStep) -> Path:
    settings = read_settings(context, "files", FilesDriverFile)
    return under_site(context, settings.root, "files.root") / step.step


def _staging(base: Path, context: DriverContext) -> Path:
    return base / f".{context.generation}.staging"


def _config_path(base: Path, context: DriverContext) -> Path:
    return base / f"{context.generation}.config.json"


def _launch_path(base: Path, generation: int) -> Path:
    return base / f"{generation}.launch.json"


def _current(base: Path) -> int | None:
    """Return the generation that the link names; None where there is no link of ours."""
    try:
        target = str((base / "current").readlink())
    except OSError:
        return None
    return int(target) if _GENERATION.fullmatch(target) else None


def _is_whole(folder: Path, sets: tuple[FileSet, ...]) -> bool:
    if not folder.is_dir():
        return False
    seen = observe_file_sets(folder, sets)
    return all(seen[files.name].observed == file_set_digest(files) for files in sets)


def _service(context: DriverContext, step: InstallStep) -> Service | None:
    """Return the service of this generation as it was staged; None where the step keeps nothing running."""
    if step.keep_running is None:
        return None
    service = _recorded_service(context, step, context.generation)
    if service is None:
        path = _launch_path(_base(context, step), context.generation)
        raise RefusedError("the service was not staged", where=str(path), remedy="run `waybill recover`")
    return service


def _recorded_service(context: DriverContext, step: InstallStep, generation: int) -> Service | None:
    """Return a service of any generation by its record; None where none was staged."""
    path = _launch_path(_base(context, step), generation)
    try:
        record = parse(path.read_bytes(), LaunchRecord, str(path), max_bytes=MAX_LAUNCH)
    except FileNotFoundError:
        return None
    except MalformedError as error:
        raise RefusedError(
            error.problem, where=str(path), remedy="run `waybill rollback`, or install another release"
        ) from error
    return Service(
        step=step.step,
        generation=generation,
        title=f"{context.release.product} {record.environment.get('WAYBILL_VERSION', '')}, {step.step}",
        launch=path,
        record=record,
        log=context.site / "logs" / f"{step.step}.log",
    )


def _keeper_name(settings: FilesDriverFile) -> Literal["systemd", "supervisord"]:
    return settings.keeper or ("systemd" if is_usable(os.geteuid()) else "supervisord")


def _keeper_of(context: DriverContext, service: Service) -> Keeper:
    """Return the keeper of this service, as was decided when it was staged."""
    if service.record.keeper == "systemd":
        return Systemd(site=context.site, disk=context.disk, search_path=context.search_path)
    # xmlrpc.client and http.client are heavy, and only a service that supervisord keeps needs them.
    from verifier.runtime.drivers.supervisord import Supervisor

    settings = read_settings(context, "files", FilesDriverFile)
    return Supervisor(
        site=context.site,
        disk=context.disk,
        search_path=context.search_path,
        runtime=Path(settings.runtime) if settings.runtime else None,
    )


def _account(user: str | None) -> ServiceAccount | None:
    if user is None:
        return None
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise RefusedError(
            f"this host has no account {user!r}",
            where="site.yaml $.drivers.files.user",
            remedy=f"run `useradd --system {shlex.quote(user)}`, or name another account",
        ) from None
    if os.geteuid() not in (0, entry.pw_uid):
        raise RefusedError(
            f"only root can run a service as {user!r}",
            where="site.yaml $.drivers.files.user",
            remedy="run the command as root",
        )
    return ServiceAccount(name=user, uid=entry.pw_uid, gid=entry.pw_gid)


def _check_account(context: DriverContext, user: str | None) -> None:
    """Check that services can run as ``user``, and that it can enter the site's folder."""
    owner = _account(user)
    if owner is not None:
        _check_access(context.site / "srv", owner)


def _check_keeper(context: DriverContext, settings: FilesDriverFile) -> None:
    """Check that the keeper of services can be used by this account, and can be reached under the site's path."""
    keeper = _keeper_name(settings)
    if keeper == "systemd" and not is_usable(os.geteuid()):
        problem = "systemd does not run on this host, or this account is not root"
        raise settings_error(problem, "files.keeper", "run the command as root, or set `keeper: supervisord`")
    if keeper == "supervisord":
        # As in `_keeper_of`.
        from verifier.runtime.drivers.supervisord_config import socket_path

        check_path(socket_path(context.site, Path(settings.runtime) if settings.runtime else None))


def _open_folders(disk: Disk, folders: list[Path], account: ServiceAccount) -> None:
    """Let the account enter folders that were made under a strict umask."""
    for folder in folders:
        if not _can_enter(folder, account):
            disk.set_mode(folder, stat.S_IMODE(folder.stat().st_mode) | 0o055)


def _can_enter(folder: Path, account: ServiceAccount) -> bool:
    status = folder.stat()
    bit = 0o100 if status.st_uid == account.uid else 0o010 if status.st_gid == account.gid else 0o001
    return account.uid == 0 or bool(status.st_mode & bit)


def _check_access(path: Path, account: ServiceAccount) -> None:
    """Check that the account can enter every folder above ``path``."""
    for folder in path.parents:
        if not _can_enter(folder, account):
            remedy = f"allow it, for example with `chmod o+x {shlex.quote(str(folder))}`"
            raise settings_error(f"the account {account.name!r} cannot enter {folder}", "files.user", remedy)


def _write_if_changed(context: DriverContext, path: Path, data: bytes, mode: int, owner: ServiceAccount | None) -> None:
    if not path.exists() or path.read_bytes() != data:
        context.disk.write(path, data, mode)
    context.disk.set_mode(path, mode)
    _set_owner(context, path, owner)


def _set_owner(context: DriverContext, path: Path, owner: ServiceAccount | None) -> None:
    status = path.stat()
    if owner is not None and (status.st_uid, status.st_gid) != (owner.uid, owner.gid):
        context.disk._effect("chown", path, lambda: os.chown(path, owner.uid, owner.gid))
