#!/usr/bin/env bash
# Sets up everything that the project needs, once: a virtual environment with ROS 2, the solver
# libraries, and both packages built by colcon. A step runs again only when what it is made from
# has changed; after an interruption the next run goes on where this one stopped.
#
# Where an installed ROS 2 Jazzy is sourced, it is used instead of the wheels. That branch cannot
# be run on the machine on which this was written, except with the wheels in its place.
#
# PYTHON=/path/to/python3.12 tools/setup.sh   chooses the interpreter.

set -euo pipefail
shopt -s nullglob

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$root/.venv"
state="$venv/setup"          # one stamp per finished step
log="$root/log/setup.log"
cd "$root"

# What a calling make hands down would reach the make that builds the messages.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES


fail() {
    printf 'nf_isac_ros set-up: %s\n' "$*" >&2
    exit 1
}

# ---------------------------------------------------------------- which ROS 2

system_python="${PYTHON:-/usr/bin/python3}"

system_ros_is_sourced() {
    # NF_ISAC_ROS_FROM: the variables come from our own tools/env.sh.
    [[ ${ROS_DISTRO:-} == jazzy && -n ${AMENT_PREFIX_PATH:-} && -z ${NF_ISAC_ROS_FROM:-} ]] &&
        "$system_python" -c 'import rclpy' 2>/dev/null
}

# A set-up that was made with a system ROS stays so in shells that have not sourced it.
if [[ -f $state/ros.env ]]; then
    ros=system
    # shellcheck source=/dev/null
    . "$state/ros.env"
elif system_ros_is_sourced; then
    ros=system
else
    ros=wheels
fi

# ---------------------------------------------------------------- what each step is made from

hash_of() {  # files -> one short hash of their names and contents
    sha256sum -- "$@" | sha256sum | cut -c 1-16
}

messages=(nf_isac_msgs/msg/*.msg nf_isac_msgs/srv/*.srv)
shipped=(launch config rviz)

key_venv="$root $ros"
key_ros="$key_venv $(hash_of requirements/{ros,build,constraints}.txt)"
key_libraries="$key_ros $(hash_of requirements/*.txt)"
# The names of the messages count apart from their contents: a message that is gone would stay
# behind in build/ and install/.
key_names="$key_ros ${messages[*]}"
key_messages="$key_names $(hash_of nf_isac_msgs/{package.xml,CMakeLists.txt} nf_isac_msgs/cmake/* "${messages[@]}")"
# Of the shipped files only the names count: they are installed as links.
key_package="$key_ros $(hash_of setup.py setup.cfg package.xml colcon_defaults.yaml) \
$({ find "${shipped[@]}" -type f 2>/dev/null || true; } | sort | sha256sum | cut -c 1-16)"
key_solver="$key_libraries $(hash_of tools/compile_kernels.py nf_isac_ros/core/{compiled,small_matrices,feasibility,certificate,beam_kernels,truncation}.py nf_isac_ros/core/extended/{gram,problem,sectioned}.py nf_isac_ros/core/solvers/{cones,*kernels}.py)"
key_command="$key_venv $(hash_of tools/setup.sh)"

python_version() {  # nothing if it does not run: a version manager leaves names that do not
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true
}

is_done() {  # name, key, a path that must exist
    [[ -e $3 && -f $state/$1 && $(<"$state/$1") == "$2" ]]
}

all_done() {
    is_done venv "$key_venv" "$venv/bin/python" &&
        is_done ros "$key_ros" "$venv/bin/python" &&
        is_done libraries "$key_libraries" "$venv/bin/python" &&
        is_done messages "$key_messages" install/nf_isac_msgs/share/nf_isac_msgs/package.xml &&
        is_done package "$key_package" build/nf_isac_ros/setup.py &&
        is_done solver "$key_solver" "$venv/bin/python" &&
        is_done command "$key_command" "$venv/bin/nf-isac"
}

# Another interpreter than last time, asked for by name.
if [[ -n ${PYTHON:-} && -f $state/venv ]]; then
    case "$(python_version "$PYTHON")" in
        "$(python_version "$venv/bin/python")") ;;
        3.10 | 3.11 | 3.12) rm "$state/venv" ;;
        *) fail "PYTHON=$PYTHON is not Python 3.10, 3.11 or 3.12" ;;
    esac
fi

if all_done; then
    exit 0
fi

# Two set-ups in one checkout take turns.
if command -v flock >/dev/null; then
    exec 9<"${BASH_SOURCE[0]}"
    if ! flock --nonblock 9; then
        echo 'Waiting for another set-up of this checkout.'
        flock 9
    fi
    if all_done; then
        exit 0
    fi
fi

# ---------------------------------------------------------------- what the machine must have

find_python() {
    local candidate version found=''
    for candidate in ${PYTHON:+"$PYTHON"} ${PYTHON:-python3 python3.12 python3.11 python3.10}; do
        version="$(python_version "$candidate")"
        case "$version" in
            3.10 | 3.11 | 3.12)
                # The interpreter itself, not that of a virtual environment which is active now.
                python="$("$candidate" -c 'import sys; print(sys._base_executable)')"
                return
                ;;
            ?*) found="${found:+$found, }$candidate is $version" ;;
        esac
    done
    fail "Python 3.10, 3.11 or 3.12 is needed (${found:-${PYTHON:-python3} not found}): sudo apt-get install python3 python3-venv python3-dev, or name one with PYTHON=/path/to/python3.12"
}

check_tools() {
    local missing=() packages=() version suffix
    if [[ $ros == wheels && $(uname -sm) != 'Linux x86_64' ]]; then
        fail "there are wheels of ROS 2 for Linux on x86_64 only, this is $(uname -sm): install ROS 2 Jazzy and source it"
    fi
    if [[ $ros == system ]]; then
        python="$system_python"
    else
        find_python
    fi
    # Debian's packages for its own interpreter bear no version, those for others do.
    suffix=3
    version="$(python_version "$python")"
    if [[ $version != "$(python_version /usr/bin/python3)" ]]; then
        suffix="$version"
    fi
    if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
        missing+=("the venv module of Python $version") packages+=("python$suffix-venv")
    fi
    if [[ ! -f $("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h ]]; then
        missing+=("the headers of Python $version") packages+=("python$suffix-dev")
    fi
    for tool in make cmake g++; do
        if ! command -v "$tool" >/dev/null; then
            missing+=("$tool") packages+=("$tool")
        fi
    done
    if ((${#missing[@]})); then
        printf -v missing_text '%s, ' "${missing[@]}"
        fail "missing: ${missing_text%, }; install with: sudo apt-get install ${packages[*]}"
    fi
}

# ---------------------------------------------------------------- steps

ticker=''
compilation=''  # process group of what compiles the solver, while it does

stop_ticker() {
    if [[ -n $ticker ]]; then
        kill "$ticker" 2>/dev/null || true
        wait "$ticker" 2>/dev/null || true
        ticker=''
    fi
}

exec 3>&2  # a step that is interrupted has its output in the log

on_exit() {
    local code=$?
    stop_ticker
    if [[ -n $compilation ]]; then
        { kill -TERM -- "-$compilation"; } 2>/dev/null || true
    fi
    if ((code > 128)); then
        printf '\nSet-up interrupted; the next run goes on from here.\n' >&3
    fi
}
trap on_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step() {  # name, title, key, a path that must exist, command...
    local name="$1" title="$2" key="$3" output="$4" begin=$SECONDS first_line
    shift 4
    if is_done "$name" "$key" "$output"; then
        return
    fi
    rm -f "$state/$name"
    printf '  %-52s' "$title"
    if [[ -t 1 ]]; then
        (while sleep 1; do printf '\r  %-52s%4d s' "$title" $((SECONDS - begin)); done) &
        ticker=$!
    fi
    first_line=$(($(wc -l <"$log") + 1))
    printf '== %s\n' "$title" >>"$log"
    if "$@" >>"$log" 2>&1 </dev/null; then
        stop_ticker
        if [[ -t 1 ]]; then printf '\r  %-52s' "$title"; fi
        printf '%4d s\n' $((SECONDS - begin))
        printf '%s' "$key" >"$state/$name"
    else
        stop_ticker
        printf ' failed\n'
        tail -n "+$first_line" "$log" | tail -n 30 | sed 's/^/    | /' >&2
        fail "step '$title' failed; the whole log is in log/setup.log; the next run tries it again"
    fi
}

make_venv() {
    if [[ -e $venv ]]; then
        # Renamed first: a removal that is interrupted leaves nothing that looks usable.
        rm -rf "$venv.old" && mv "$venv" "$venv.old" && rm -rf "$venv.old" || return
    fi
    mkdir -p "$state" || return
    if [[ $ros == system ]]; then
        "$python" -m venv --system-site-packages "$venv" && write_system_ros_variables
    else
        "$python" -m venv "$venv"
    fi
}

write_system_ros_variables() {  # read by tools/env.sh
    local name
    for name in AMENT_PREFIX_PATH PYTHONPATH LD_LIBRARY_PATH PATH ROS_DISTRO ROS_VERSION \
        ROS_PYTHON_VERSION CMAKE_PREFIX_PATH PKG_CONFIG_PATH; do
        # PATH of later shells is kept: only what ROS added to it is put in front.
        if [[ $name == PATH ]]; then
            if command -v ros2 >/dev/null; then
                # shellcheck disable=SC2016
                printf 'export PATH=%q"${PATH:+:$PATH}"\n' "$(dirname "$(command -v ros2)")"
            fi
        elif [[ -n ${!name:-} ]]; then
            printf 'export %s=%q\n' "$name" "${!name}"
        fi
    done >"$state/ros.env.new"
    # Its presence says which ROS 2 this virtual environment was made with: whole or not at all.
    mv "$state/ros.env.new" "$state/ros.env"
}

# Neither the user's settings nor another Python's modules may reach into the virtual environment.
clean_environment=(env --unset=PYTHONPATH --unset=PYTHONHOME --unset=LD_LIBRARY_PATH
    --unset=_ROS_WHEELS_BOOTSTRAP_COMPLETE)

# Wheels only, so that no compilation comes as a surprise; empy, one Python file, has none.
pip_install() {
    "${clean_environment[@]}" PIP_USER=0 "$venv/bin/python" -m pip install --no-input \
        --disable-pip-version-check --progress-bar off --only-binary=:all: --no-binary=empy "$@"
}

install_ros() {
    if [[ $ros == wheels ]]; then
        pip_install -r requirements/ros.txt -r requirements/build.txt
    elif ! command -v colcon; then
        pip_install -r requirements/build.txt
    fi
}

install_libraries() {
    local folder=requirements
    if [[ $ros == system ]]; then
        # The message modules of an installed ROS 2 are compiled against the distribution's
        # numpy 1.26 and may not load with numpy 2.
        folder="$state/requirements"
        rm -rf "$folder" && cp -r requirements "$folder" || return
        sed -i 's/^numpy==.*/numpy==1.26.4/' "$folder/runtime.txt" || return
    fi
    pip_install -r "$folder/runtime.txt" -r "$folder/test.txt"
}

# colcon runs in the Python of the virtual environment also where it is a system ROS's: it builds
# with the interpreter that it runs in, and the executables must find the solver libraries.
colcon_build() {
    local colcon="$venv/bin/colcon"
    if [[ $ros == system ]]; then
        if [[ ! -x $colcon ]]; then
            colcon="$(command -v colcon)"
        fi
        PATH="$venv/bin:$PATH" VIRTUAL_ENV="$venv" "$venv/bin/python" "$colcon" build "$@"
        return
    fi
    "${clean_environment[@]}" --unset=CMAKE_PREFIX_PATH --unset=COLCON_PREFIX_PATH \
        --unset=COLCON_LOG_PATH --unset=COLCON_DEFAULTS_FILE --unset=PKG_CONFIG_PATH \
        PATH="$venv/bin:$PATH" VIRTUAL_ENV="$venv" AMENT_PREFIX_PATH="$venv" \
        COLCON_HOME="$state/colcon" \
        "$venv/bin/python" "$colcon" build "$@"
}

build_messages() {
    if [[ ! -f $state/message_names || $(<"$state/message_names") != "$key_names" ]]; then
        rm -rf build/nf_isac_msgs install/nf_isac_msgs || return
        printf '%s' "$key_names" >"$state/message_names" || return
    fi
    colcon_build --packages-select nf_isac_msgs --cmake-args -DBUILD_TESTING=OFF &&
        bash -c '. tools/env.sh && python -c "from nf_isac_msgs.msg import Beamformer; Beamformer()"'
}

build_package() {
    # Linked, not copied: edits to Python, launch and configuration files count at once.
    colcon_build --symlink-install --packages-select nf_isac_ros &&
        compile_bytecode
}

# Each node imports hundreds of modules; where PYTHONDONTWRITEBYTECODE is set it would compile ours
# each time that it starts.
compile_bytecode() {
    "$venv/bin/python" -m compileall -q nf_isac_ros install/nf_isac_msgs
}

# Numba keeps what it compiled beside the source: nodes then start at once.
# Numba looks at the file of a function only, not at those of what it calls: nothing old is kept.
# It takes minutes and needs the libraries only, hence the steps that follow run beside it. It has
# a session of its own, so that all its processes can be ended together.
begin_compilation() {
    if is_done solver "$key_solver" "$venv/bin/python"; then
        return
    fi
    rm -f "$state/solver"
    find nf_isac_ros/core -name '*.nb[ic]' -delete
    setsid "${clean_environment[@]}" PYTHONPATH="$root" \
        "$venv/bin/python" tools/compile_kernels.py >"$log.solver" 2>&1 </dev/null &
    compilation=$!
}

compile_solver() {
    local code=0
    wait "$compilation" || code=$?
    compilation=''
    cat "$log.solver"
    rm "$log.solver"
    return "$code"
}

write_command() {
    local new="$venv/bin/.nf-isac.new"
    {
        echo '#!/usr/bin/env bash'
        echo '# Written by tools/setup.sh: nf-isac in its environment, from any folder and shell.'
        printf '. %q\n' "$root/tools/env.sh"
        printf 'exec %q "$@"\n' "$root/install/nf_isac_ros/lib/nf_isac_ros/nf-isac"
    } >"$new" && chmod +x "$new" && mv "$new" "$venv/bin/nf-isac"
}

# ---------------------------------------------------------------- run

if [[ -e $venv && ! -d $state ]]; then
    fail "$venv exists and was not made by this set-up: move it away and run again"
fi
check_tools

mkdir -p "$(dirname "$log")"
# colcon ignores its log folder by this file; it is not there yet if we come first.
touch "$(dirname "$log")/COLCON_IGNORE"
: >"$log"

if [[ $ros == wheels ]]; then
    ros_title='ROS 2 Jazzy and colcon (wheels)'
else
    ros_title="colcon for the installed ROS 2 (${ROS_DISTRO:-})"
fi

begin=$SECONDS
echo "Setting up in $root (once; details in log/setup.log)"
step venv "virtual environment, Python $(python_version "$python")" "$key_venv" "$venv/bin/python" make_venv
step ros "$ros_title" "$key_ros" "$venv/bin/python" install_ros
step libraries 'solver libraries and test tools' "$key_libraries" "$venv/bin/python" install_libraries
begin_compilation
step messages 'nf_isac_msgs, built by colcon' "$key_messages" \
    install/nf_isac_msgs/share/nf_isac_msgs/package.xml build_messages
step package 'nf_isac_ros, built by colcon' "$key_package" build/nf_isac_ros/setup.py build_package
step solver 'solver, compiled by Numba beside these' "$key_solver" "$venv/bin/python" compile_solver
step command 'command .venv/bin/nf-isac' "$key_command" "$venv/bin/nf-isac" write_command
echo "Set-up finished in $((SECONDS - begin)) s."
