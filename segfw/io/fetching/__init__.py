"""Archives of datasets: fetched over unreliable connections, checked, and unpacked safely."""
