"""The handler rotate-site-key: a new key of the site, which the present key signs."""

from verifier.handlers.output import HandlerContext, HandlerOutput
from verifier.reporting.key_change import rotate_key


def perform(context: HandlerContext) -> HandlerOutput:
    changed = rotate_key(context.site)
    return HandlerOutput(values={"key_epoch": changed.key_epoch}, lines=(f"key {changed.key.keyid}",))
