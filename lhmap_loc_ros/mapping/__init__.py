# SPDX-License-Identifier: Apache-2.0
"""From bags to maps: poses, merged cloud, removal of what moved, heat, selection."""
