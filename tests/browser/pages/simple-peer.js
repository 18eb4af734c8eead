// The default export that a bundler makes of the script.
export default window.SimplePeer;
