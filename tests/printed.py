"""What a command prints of a page without a terminal."""

from console.screen import fit
from verifier.approval.page import Page, as_text


def printed(page: Page, *, brief: bool = False) -> str:
    return fit(as_text(page, brief=brief), None, verbose=True)
