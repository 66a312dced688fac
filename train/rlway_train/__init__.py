"""RLway's training: an environment in, a finished run folder out.

environment ──▶ collector ──▶ replay ──▶ learner (TF-Agents) ──weights──▶ policy (numpy) ──▶ collector, evaluation
"""
