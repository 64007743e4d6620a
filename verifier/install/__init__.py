"""Install, confirm, roll back, recover: the only room that changes what runs."""
