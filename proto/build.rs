//! Compiles the wire schema without an installed protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=schema");
    let files = protox::compile(["schema/fmesh/v1/mesh.proto"], ["schema"])?;
    prost_build::Config::new().compile_fds(files)?;
    Ok(())
}
