//! The UDP sockets under the discovery service.
