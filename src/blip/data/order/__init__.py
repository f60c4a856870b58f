"""Which sample comes when: in memory, streamed, mixed; resumable."""
