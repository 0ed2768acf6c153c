"""What users hand to an analyzer."""
