#!/usr/bin/env bash
# Runs what needs no torch (help, check, list, mistakes, composition) on every Python that imclass supports.
#   bash scripts/pythons.sh FOLDER [VERSION ...]       default: 3.10 3.11 3.12 3.13 3.14
#   TORCH=yes bash scripts/pythons.sh FOLDER 3.14      with torch: also trains, evaluates, predicts and reports
# Takes python<VERSION> from the PATH (with pyenv: PYENV_VERSION=3.10.13:3.12.1). If there is none, makes a chroot of the
# Debian suite that ships it: this needs root and debootstrap. Prints a transcript; exits with 1 if any exit code is not
# the expected one. FOLDER keeps chroots, environments and outputs; delete it when done.
set -euo pipefail
folder=$(mkdir -p "${1:?usage: bash scripts/pythons.sh FOLDER [VERSION ...]}" && cd "$1" && pwd)
versions=("${@:2}")
((${#versions[@]})) || versions=(3.10 3.11 3.12 3.13 3.14)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
declare -A suites=([3.11]=bookworm [3.13]=trixie [3.14]=forky)

cases=( # expected exit code, arguments of imclass
  "0 --help"
  "0 --version"
  "0 train --help"
  "0 sweep --help"
  "0 evaluate --help"
  "0 completion bash"
  "0 completion zsh"
  "0 schema"
  "0 export --help"
  "0 list datasets"
  "0 list experiments"
  "0 train --cfg job"
  "0 train --cfg job experiment=cifar10_resnet18 optimizer=adam"
  "0 check name=here"
  "0 check name=here -m seed=0,1"
  "0 check name=here experiment=cifar10_resnet18 augment.crop=2"
  "2 check optimzer.lr=1"
  "2 check train.epochs=-1 model.dropout=2 augment.crop=1.5 seed=x"
  "2 check model=resnet19"
  "2 train train.epoch=3"
  "2 train experiment=nowhere"
  "2 train optimizer.lr=a=b"
  "2 train hydra.run.dir=elsewhere"
  "2 check -m seed=0,1 optimizer.lr=0.1,-1"
  "2 trian"
  "2 list nothing"
  "2 evaluate no_such_run"
)
if [[ ${TORCH:-} ]]; then
  cases+=(
    "0 list models"
    "0 plan name=here model=lenet train.epochs=1"
    "0 lr-find name=here model=lenet"
    "0 data inspect fashion_mnist_mini"
    "0 train name=here model=lenet train.steps=20 train.epochs=null"
    "0 evaluate here"
    "0 predict here outputs/here/plots/samples.png --explain explained.png"
    "0 report here"
    "0 export here --format pt2"
    "0 export here --format safetensors"
    "0 verify here"
    "2 export here --format onnx"
  )
fi

make_chroot() { # SUITE: a minimal Debian in $folder/SUITE with this machine's name servers and certificates
  local root="$folder/$1" script="$1" mirror
  [[ -e $root/ready ]] && return
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1)
  [[ -e /usr/share/debootstrap/scripts/$1 ]] || script=sid # the suite is newer than this debootstrap
  echo "making a chroot of Debian $1"
  debootstrap --variant=minbase --include=python3-venv,ca-certificates "$1" "$root" "$mirror" "$script" >"$root.log"
  cp -L /etc/resolv.conf "$root/etc/"
  cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  touch "$root/ready"
}

find_python() { # VERSION: sets python, and inside (the command that enters its chroot), root and home
  python="python$1" inside=() root="" home="$folder/$1"
  "$python" -c 'import ensurepip' 2>/dev/null && return
  local suite=${suites[$1]:?"python$1 is not on the PATH, and no Debian suite is known to ship it"}
  make_chroot "$suite"
  inside=(chroot "$folder/$suite") root="$folder/$suite" home=/imclass
}

install_imclass() { # a fresh environment in $home/venv
  rm -rf "$root$home" && mkdir -p "$root$home"
  cp "$folder"/wheel/*.whl "$root$home/"
  "${inside[@]}" "$python" -m venv "$home/venv"
  local pip=("${inside[@]}" "$home/venv/bin/pip") wheel=("$folder"/wheel/*.whl) needed
  wheel="$home/${wheel##*/}"
  if [[ ${TORCH:-} ]]; then
    "${pip[@]}" install -qq "$wheel"
  else
    mapfile -t needed < <(grep -oE '"(hydra-core|omegaconf)[^"]*"' pyproject.toml | tr -d '"')
    "${pip[@]}" install -qq "${needed[@]}"
    "${pip[@]}" install -qq --no-deps "$wheel"
  fi
  "${inside[@]}" "$home/venv/bin/python" --version
  "${pip[@]}" list 2>/dev/null | grep -E '^(hydra-core|omegaconf|torch) '
}

run_cases() { # VERSION: runs each case, keeps its output, compares it with the first version's
  local outputs="$folder/outputs/$1" first="$folder/outputs/${versions[0]}" case code verdict start
  mkdir -p "$outputs"
  for case in "${cases[@]}"; do
    local arguments=${case#* } expected=${case%% *} file
    file=$(tr -c 'a-z0-9\n' _ <<<"$arguments").txt
    code=0 start=${EPOCHREALTIME/./}
    # shellcheck disable=SC2086  # words are arguments
    "${inside[@]}" env --chdir="$home" "$home/venv/bin/python" -m imclass $arguments >"$outputs/$file" 2>&1 || code=$?
    verdict="ok" && cmp --silent "$outputs/$file" "$first/$file" || verdict="ok, other words than ${versions[0]}"
    ((code == expected)) || { verdict="EXPECTED $expected: $(tail -n 1 "$outputs/$file")" failed=1; }
    printf '%s  %4d ms  exit %d  imclass %s  %s\n' "$1" $(((${EPOCHREALTIME/./} - start) / 1000)) "$code" "$arguments" "$verdict"
  done
}

failed=0
rm -rf "$folder/wheel"
"${PYTHON:-python3}" -m pip wheel -qq --no-deps --wheel-dir "$folder/wheel" .
for version in "${versions[@]}"; do
  find_python "$version"
  install_imclass
  run_cases "$version"
done
exit "$failed"
