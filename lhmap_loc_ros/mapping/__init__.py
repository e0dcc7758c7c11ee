# SPDX-License-Identifier: Apache-2.0
"""From bags to maps: poses, accumulated scans, removal of moving objects, heat, selection."""
