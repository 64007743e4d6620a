"""The handler config-seal: a keyed digest of the configuration, which shows whether it is still the same."""

from manifests.documents.telemetry import Value
from verifier.handlers.output import HandlerContext, HandlerOutput, handler_error
from verifier.reporting.report_plan import config_seal


def perform(context: HandlerContext) -> HandlerOutput:
    installed = context.running()
    if installed.config is None or installed.release.config is None:
        raise handler_error("no-config", "the running release takes no configuration", "nothing has to be done")
    values: dict[str, Value] = {
        "seal": config_seal(context.site, installed.config),
        "schema_version": installed.release.config.version,
    }
    return HandlerOutput(values=values)
