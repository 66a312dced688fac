"""The learners: DQN, SAC and recurrent DQN on TF-Agents."""
