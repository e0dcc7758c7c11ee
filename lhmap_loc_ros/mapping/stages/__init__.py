# SPDX-License-Identifier: Apache-2.0
"""The stages of a build as jobs: files in, one file out, named by what went in."""
