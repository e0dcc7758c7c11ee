# SPDX-License-Identifier: Apache-2.0
"""`ros2 param`, which is a command only where ROS is sourced: python THIS FILE VERB NODE [ARGUMENT ...]."""

import argparse
import sys
from importlib import import_module

verb, *arguments = sys.argv[1:]
extension = getattr(import_module(f"ros2param.verb.{verb}"), f"{verb.capitalize()}Verb")()
parser = argparse.ArgumentParser(prog=f"ros2 param {verb}")
extension.add_arguments(parser, "ros2 param")
sys.exit(extension.main(args=parser.parse_args(["--no-daemon", "--spin-time", "5", "--timeout", "30", *arguments])))
