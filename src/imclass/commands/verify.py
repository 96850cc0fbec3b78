"""Is everything in a run folder whole, and does it agree?

imclass verify RUN
"""

from collections.abc import Sequence

from imclass.commands.arguments import Arguments
from imclass.endings import printable
from imclass.errors import UserError
from imclass.runs.records import find_run


def verify_command(argv: Sequence[str]) -> None:
    """Print one line about a whole run. Raises UserError with a line for each problem. Read-only."""
    parser = Arguments(
        prog="imclass verify",
        description="Check a run folder: digests and values of all weights, logs, summary, promised files. "
        "Nothing is written or locked. Prints one line per problem and exits 2; exits 0 if there are none.",
    )
    parser.add_argument("run", metavar="RUN", help="a run folder, or its name under outputs/")
    run = find_run(parser.parse_args(argv).run)
    from imclass.runs.verify import verify_run

    verdict = verify_run(run)
    if verdict.problems:
        raise UserError(verdict.report())
    print(printable(verdict.report()))
