"""What a training would do and take; nothing is trained.

imclass plan [the same as imclass train]
"""

import shlex
import sys
from collections.abc import Sequence

from imclass.commands.drawn_file import new_file
from imclass.config.app import run_app
from imclass.config.conflicts import unused
from imclass.config.invocation import Invocation
from imclass.config.schema import Config
from imclass.config.setting import show
from imclass.folding import folded


def plan_command(argv: Sequence[str]) -> None:
    """Print and draw what a training would do. Raises UserError for all that would keep it from starting."""
    run_app(_plan, Invocation.read("plan", argv), submit=False)


def _plan(config: Config, invocation: Invocation) -> None:
    from imclass.reports.plan_page import write_plan_page
    from imclass.training.forecast import forecast

    found = forecast(config)
    setup, command = found.setup, shlex.join(["imclass", "train", *invocation.words])
    page = new_file(config, "plans", "html")
    write_plan_page(page, found.lines, command, setup.loader, setup.data, found.rates, found.evaluated)
    warnings = [f"warning: {line}" for line in unused(setup.config, invocation.keys)]
    lines = [*warnings, *found.lines, f"page     {show(str(page))}", f"next     {command}"]
    print(folded("\n".join(lines), sys.stdout))
