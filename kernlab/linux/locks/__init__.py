"""What tasks wait for, one module per kind of lock or wait; and who holds it."""
