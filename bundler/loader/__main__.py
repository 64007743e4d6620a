"""Start of the kit: unpack the parts that fit this Python and this machine, then run Waybill.

Written so that any Python 3 can at least read it and say what it needs. It reaches no network. What it unpacks is
checked against the digests in kit.json, which lies in the same file: the digest on the paper covers all of it.
"""

import os
import sys

SUPPORTED = ("3.11", "3.12", "3.13")


def stop(problem, hint):
    sys.stderr.write("error: %s\nhint: %s\n" % (problem, hint))
    raise SystemExit(6)


def main():
    version = "%d.%d" % sys.version_info[:2]
    machine = os.uname().machine if hasattr(os, "uname") else "unknown"
    if version not in SUPPORTED or machine not in ("x86_64", "aarch64") or sys.implementation.name != "cpython":
        stop(
            "this is Python %s on %s; the kit needs CPython %s on x86_64 or aarch64 Linux"
            % (version, machine, ", ".join(SUPPORTED)),
            "call it with another interpreter: python3.11 %s" % sys.argv[0],
        )
    folder = parts("%s-%s" % (version, machine))
    sys.path[0:0] = [folder]
    os.environ["WAYBILL_KIT"] = os.path.abspath(sys.argv[0])
    from waybill import main as run

    run()


def parts(target):
    """The folder with everything unpacked; made once for each user, kit and target."""
    import hashlib
    import json
    import zipfile

    here = os.path.dirname(os.path.abspath(__file__))
    with zipfile.ZipFile(here) as kit:
        listing = kit.read("kit.json")
        name = hashlib.sha256(listing).hexdigest()[:32] + "-" + target
        for cache in caches():
            done = os.path.join(cache, name)
            if usable(done):
                return done
        wanted = json.loads(listing)["targets"][target]
        return unpack(kit, wanted, name)


def caches():
    """Where the parts may be kept, best first."""
    if os.environ.get("WAYBILL_CACHE"):
        yield os.environ["WAYBILL_CACHE"]
        return
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    if os.path.isabs(base):
        yield os.path.join(base, "waybill")


def usable(folder):
    """Whether the folder is ours alone; another user could otherwise have put code there."""
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    import stat

    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022


def unpack(kit, wanted, name):
    import atexit
    import hashlib
    import io
    import shutil
    import tempfile
    import zipfile

    staging = None
    for cache in caches():
        try:
            os.makedirs(cache, mode=0o700, exist_ok=True)
            if usable(cache):
                staging = tempfile.mkdtemp(prefix="new-", dir=cache)
                break
        except OSError:
            continue
    keep = staging is not None
    if not keep:
        staging = tempfile.mkdtemp(prefix="waybill-")
        atexit.register(shutil.rmtree, staging, ignore_errors=True)
    try:
        for part, digest in sorted(wanted.items()):
            data = kit.read(part)
            if hashlib.sha256(data).hexdigest() != digest:
                stop("the kit is damaged in %s" % part, "copy it again and compare its digest with the paper")
            with zipfile.ZipFile(io.BytesIO(data)) as wheel:
                for entry in wheel.namelist():
                    if entry.startswith("/") or ".." in entry.split("/"):
                        stop("the kit names a file outside of it: %s" % entry, "do not use this kit")
                wheel.extractall(staging)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        stop("cannot unpack the kit: %s" % error.strerror, "make space, or set WAYBILL_CACHE to a folder with space")
    if not keep:
        return staging
    done = os.path.join(os.path.dirname(staging), name)
    try:
        os.rename(staging, done)
    except OSError:
        # Another process was faster; its folder was made from the same digests.
        shutil.rmtree(staging, ignore_errors=True)
        if not usable(done):
            stop("another user's folder is in the way: %s" % done, "remove it, or set WAYBILL_CACHE")
    return done


main()
