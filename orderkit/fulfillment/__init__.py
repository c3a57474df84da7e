"""From a paid order to a parcel: booking, retries, dead letters, delivery, carriers."""
