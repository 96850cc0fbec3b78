"""Settings and names as a stranger would write them."""

SPAWN = "setuptools._distutils.spawn.spawn"
ALIASES = "\n".join(
    [
        "a0: &a0 [x, x, x, x, x, x, x, x, x]",
        *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)),
    ]
)

# Experiments, each as a file x.yaml; CANARY is a file that must not come into being.
EXPERIMENTS = {
    "a callback that spawns": f"hydra: {{callbacks: {{x: {{_target_: {SPAWN}, cmd: [touch, CANARY]}}}}}}",
    "a callback that calls": (
        "hydra: {callbacks: {x: {_target_: subprocess.check_call, _args_: [[touch, CANARY]]}}}"
    ),
    "a callback that unpickles by torch": (
        "hydra: {callbacks: {x: {_target_: torch.load, f: PICKLE, weights_only: false}}}"
    ),
    "a callback that unpickles by numpy": (
        "hydra: {callbacks: {x: {_target_: numpy.load, file: PICKLE, allow_pickle: true}}}"
    ),
    "a callback that copies": (
        "hydra: {callbacks: {x: {_target_: shutil.copyfile, src: PICKLE, dst: CANARY}}}"
    ),
    "a log elsewhere": (
        "hydra: {job_logging: {version: 1, root: {handlers: [f]}, "
        "handlers: {f: {class: logging.FileHandler, filename: CANARY}}}}"
    ),
    "a folder of Hydra's elsewhere": "hydra: {run: {dir: ../elsewhere}}",
    "a subfolder of Hydra's elsewhere": "hydra: {output_subdir: ../elsewhere}",
    "a search path": "hydra: {searchpath: ['file:///tmp']}",
    "a launcher": "defaults: [{override /hydra/launcher: submitit_local}]",
    "a target in a group": "model: {_target_: os.system, command: touch CANARY}",
    "a target for the optimizer": f"optimizer: {{_target_: {SPAWN}, cmd: [touch, CANARY]}}",
    "a tag": "x: !!python/object/apply:os.system ['touch CANARY']",
    "a tag for the model": "model: !!python/object/new:os.system ['touch CANARY']",
    "an environment variable": "name: ${oc.env:HOME}",
    "aliases of aliases": ALIASES,
    "twenty thousand brackets": f"x: {'[' * 20_000}",
    "two megabytes": f"x: {'y' * 2_000_000}",
    "a key that looks at the class": "seed: {__class__: x}",
    "a name elsewhere": "name: ../../elsewhere",
}
NAMES = {
    "dots": "../../elsewhere",
    "a line feed": "two\nlines",
    "escape codes": "\x1b[31mred",
    "a dot in front": ".hidden",
    "a slash": "a/b",
    "a home": "~",
    "two hundred letters": "n" * 200,
}
