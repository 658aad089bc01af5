# shellcheck shell=bash
# Environment of the built workspace; to be sourced (bash, zsh) from any folder:  . tools/env.sh
#
# It sets what the two packages and ROS 2 need and nothing else, in the shell that sources it only.
# Sourcing it twice changes nothing.

_nf_root="$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")/.." && pwd)"
_nf_venv="$_nf_root/.venv"
_nf_python="$(cd "$_nf_venv/lib" && echo python3*)"
_nf_msgs="$_nf_root/install/nf_isac_msgs"

if [ -f "$_nf_venv/setup/ros.env" ]; then
    # An installed ROS 2: the variables that were set when the set-up ran.
    # shellcheck source=/dev/null
    . "$_nf_venv/setup/ros.env"
    _nf_libraries=''
else
    # ROS 2 from wheels: the virtual environment is its prefix. What another ROS 2 may have left in
    # these variables is replaced, since modules in PYTHONPATH come before those of the wheels.
    AMENT_PREFIX_PATH="$_nf_venv"
    PYTHONPATH=''
    _nf_libraries="$_nf_venv/lib"
    for _nf_folder in "$_nf_venv/lib/$_nf_python"/site-packages/ros_*.libs; do
        _nf_libraries="$_nf_libraries:$_nf_folder"
    done
    # The wheels otherwise start every Python twice, to set LD_LIBRARY_PATH in between.
    export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
    # The only one among the wheels.
    export RMW_IMPLEMENTATION=rmw_fastrtps_cpp
    export NF_ISAC_ROS_FROM=wheels
fi

export VIRTUAL_ENV="$_nf_venv"
export AMENT_PREFIX_PATH="$_nf_root/install/nf_isac_ros:$_nf_msgs:$AMENT_PREFIX_PATH"

# build/nf_isac_ros: with --symlink-install it links to the sources, so that edits need no build;
# without, it is empty of modules, and the installed copy counts.
_nf_site="lib/$_nf_python/site-packages"
export PYTHONPATH="$_nf_root/build/nf_isac_ros:$_nf_root/install/nf_isac_ros/$_nf_site:$_nf_msgs/$_nf_site${PYTHONPATH:+:$PYTHONPATH}"

case ":$PATH:" in
    *":$_nf_venv/bin:"*) ;;
    *) export PATH="$_nf_venv/bin:$PATH" ;;
esac
case ":${LD_LIBRARY_PATH:-}:" in
    *":$_nf_msgs/lib:"*) ;;
    *) export LD_LIBRARY_PATH="$_nf_msgs/lib${_nf_libraries:+:$_nf_libraries}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" ;;
esac

unset _nf_root _nf_venv _nf_python _nf_msgs _nf_libraries _nf_folder _nf_site
