"""The `waybill` command: a table of commands, and nothing else."""

import gc
import os
import sys

import click

from console.table import CommandTable

# command: (module:attribute, one line of help). Nothing of ours but this table is imported before a command is called.
COMMANDS = {
    "init": ("bundler.commands.init:init_command", "Write a vendor folder that can be built at once."),
    "keygen": ("content.commands.keygen:keygen_command", "Make a signing key: FILE, and its public half beside it."),
    "trust": (
        "bundler.commands.trust:trust_command",
        "Write the next root document and revocation list from trust.yaml.",
    ),
    "lint": ("content.commands.lint:lint_command", "Check what people write by hand."),
    "build": ("bundler.commands.build:build_command", "Pack a release into one bundle."),
    "sign": (
        "content.commands.sign:sign_command",
        "Add a signature to a bundle, a root document or a revocation list.",
    ),
    "kit": ("bundler.commands.kit:kit_command", "Write the verifier as one file that runs at a site."),
    "show": ("verifier.commands.show:show_command", "Explain a bundle or a signed document."),
    "verify": ("verifier.commands.verify:verify_command", "Check a bundle or a signed document."),
    "compare": ("verifier.commands.compare:compare_command", "Compare two bundles, or two documents of the same kind."),
    "enroll": ("verifier.commands.enroll:enroll_command", "Make a folder a site that trusts one vendor."),
    "receive": ("verifier.commands.receive:receive_command", "Take in bundles, consignments, trust files and answers."),
    "review": (
        "verifier.commands.review:review_command",
        "Show what waits, what it would change, and who must approve.",
    ),
    "check": (
        "verifier.commands.check:check_command",
        "Look for what this site lacks for an item, and at the site itself.",
    ),
    "approve": ("verifier.commands.approve:approve_command", "Sign the plan of an item with your key."),
    "reject": ("verifier.commands.approve:reject_command", "Reject an item, or withdraw your approval of it."),
    "install": ("verifier.commands.install:install_command", "Install an approved item."),
    "confirm": ("verifier.commands.confirm:confirm_command", "Confirm the running trial, or a time."),
    "run": ("verifier.commands.run:run_command", "Run a handler: a named command. There is no shell."),
    "rollback": ("verifier.commands.rollback:rollback_command", "Go back to an earlier generation."),
    "recover": ("verifier.commands.recover:recover_command", "Finish what a crash interrupted."),
    "status": ("verifier.commands.status:status_command", "Show what runs, what is unfinished and what waits."),
    "history": ("verifier.commands.history:history_command", "Check the journal and print it."),
    "collect": ("verifier.commands.collect:collect_command", "Count what the telemetry contract allows, now."),
    "report": ("verifier.commands.report:report_command", "Print, write or export the report of this site."),
    "offboard": ("verifier.commands.offboard:offboard_command", "End the vendor's access to this site."),
    "fleet": ("fleet.commands.group:fleet_group", "What support knows, and what it writes to sites."),
}


@click.group(
    cls=CommandTable, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="airgap-waybill", prog_name="waybill")
def cli() -> None:
    """Pack a signed release for a site without a network, install it there, carry a signed report to support."""


def main() -> None:
    """Entry point; wrong usage ends with exit code 2, also with --json."""
    # Loading modules makes many objects, and all of them stay: looking through them for garbage would be a tenth of it.
    gc.set_threshold(20_000)
    for name in ("stdout", "stderr"):
        # The caller closed it; what is printed there goes nowhere.
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - until the end
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as wrong:
        from console.output import usage_error

        sys.exit(usage_error(wrong, as_json="--json" in sys.argv))
    except OSError as failure:
        from console.output import print_error, unprinted_error

        unprinted = unprinted_error(failure)
        print_error(unprinted)
        sys.exit(unprinted.exit_code)
    finally:
        # At its end the interpreter would look through everything once more for circles of references.
        gc.freeze()


if __name__ == "__main__":
    main()
