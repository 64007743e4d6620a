"""Write damaged files of a site again from what else it holds: of a generation, and a lost site.yaml."""

import json

from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import DamagedError, RefusedError, WaybillError
from verifier.install.context import Runtime
from verifier.site.folder import SITE_YAML, Site
from verifier.site.generations import about_generation, read_installed, read_running
from verifier.site.journal.installs import Generation
from verifier.site.proposals import read_site_yaml
from verifier.site.releases import read_kept_head
from verifier.site.unread import attempt


def restore_generations(site: Site, runtime: Runtime) -> tuple[int, ...]:
    """Mend the files of the kept generations; return the numbers of those that were mended.

    Only bytes with the digest that the journal names are written.

    Raises:
        DamagedError: The running generation lacks a file that nothing here has any more. The others are mended first.
    """
    restored: list[int] = []
    failure: DamagedError | None = None
    for generation in site.state.installs.generations:
        runs = generation.number == site.state.installs.current
        if not runs and not site.generation_folder(generation.number).is_dir():
            continue  # it was cleared away
        try:
            read_installed(site, generation)
        except (DamagedError, RefusedError):
            lost = _restore(site, generation)
            if not lost:
                runtime.notify(f"generation {generation.number}: its damaged files were written again")
                restored.append(generation.number)
            elif runs:
                failure = _unrestored(site, generation, lost)
    if failure is not None:
        raise failure
    return tuple(restored)


def restore_site_yaml(site: Site, runtime: Runtime) -> bool:
    """Write a lost ``site.yaml`` with the settings and the config in force; return whether it was written.

    JSON is YAML. The comments of the lost file, and edits that were not in force yet, are not known.
    """
    path = site.path / SITE_YAML
    lost = not path.exists() and not path.is_symlink()
    installed = attempt(lambda: read_running(site), []) if lost else None
    if installed is None:
        return False
    # The bytes of the config are kept: a number would look different after it was read.
    settings = json.dumps(json.loads(encode(installed.settings)), indent=2).removesuffix("\n}")
    config = f',\n  "config": {installed.config.decode()}' if installed.config is not None else ""
    head = f"# Written by `waybill recover`: what generation {installed.number} has in force. The file was missing.\n"
    # The config may hold secrets.
    site.disk.write(path, f"{head}{settings}{config}\n}}\n".encode(), 0o640)
    runtime.notify(f"{path}: the file was missing; it has what is in force again, without its comments")
    return True


def _restore(site: Site, generation: Generation) -> tuple[str, ...]:
    """Write each damaged file again; return the names of those that nothing here has."""
    failures: list[WaybillError] = []
    head = attempt(lambda: read_kept_head(site, generation.release), failures)
    proposal = attempt(lambda: read_site_yaml(site.path), failures)
    about = about_generation(generation)
    wanted = {
        "release.json": (generation.release, head.head.release if head else b"", 0o644),
        "settings.json": (generation.settings, proposal.settings if proposal else b"", 0o640),
        "generation.json": (digest_of(about), about, 0o644),
    }
    if generation.config is not None:
        wanted["config.json"] = (generation.config, proposal.config if proposal else b"", 0o640)
    folder, lost = site.generation_folder(generation.number), []
    site.disk.make_folder(folder)
    for name, (digest, data, mode) in wanted.items():
        path = folder / name
        held = attempt(path.read_bytes, [])
        if held is not None and digest_of(held) == digest:
            continue
        if digest_of(data) == digest and not path.is_dir():
            site.disk.write(path, data, mode)
        else:
            lost.append(name)
    return tuple(lost)


def _unrestored(site: Site, generation: Generation, lost: tuple[str, ...]) -> DamagedError:
    folder = site.generation_folder(generation.number)
    if (folder / lost[0]).is_dir():
        return DamagedError(
            f"generation {generation.number} runs, and a folder is in the place of {lost[0]}",
            where=str(folder / lost[0]),
            remedy="move the folder away, then run `waybill recover`, which writes the file again",
            finding="generation-damaged",
        )
    where = "site.yaml no longer says what it said then" if "release.json" not in lost else "the head is not kept"
    return DamagedError(
        f"generation {generation.number} runs, and {', '.join(lost)} cannot be written again: {where}",
        where=str(folder),
        remedy=f"copy {folder / lost[0]} from a backup of the site; or write into site.yaml what was in force and run "
        "`waybill recover` again; `waybill rollback` goes to an earlier generation meanwhile",
        finding="generation-damaged",
    )
