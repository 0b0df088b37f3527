using System.Reflection;
using System.Runtime.InteropServices;
using System.Runtime.Loader;

namespace WandbLaunch;

/// <summary>Libraries of folders of the module, apart from what the process or other modules have loaded.</summary>
internal sealed class LibraryContext : AssemblyLoadContext
{
    private readonly string[] _folders;

    /// <param name="folder">Its libraries are taken before the process's own.</param>
    /// <param name="spare">Its libraries too, but those of the System namespace only where the runtime has none.</param>
    internal LibraryContext(string folder, string? spare = null)
        : base("WandbLaunch")
    {
        _folders = spare is null ? [folder] : [folder, spare];
        Resolving += (_, name) => Find(name) is { } path ? LoadFromAssemblyPath(path) : null;
    }

    protected override Assembly? Load(AssemblyName assemblyName) =>
        Find(assemblyName) is { } path
        && (
            Path.GetDirectoryName(path) == _folders[0]
            || !assemblyName.Name!.StartsWith("System.", StringComparison.Ordinal)
        )
            ? LoadFromAssemblyPath(path)
            : null;

    protected override IntPtr LoadUnmanagedDll(string unmanagedDllName)
    {
        var architecture = RuntimeInformation.ProcessArchitecture.ToString().ToLowerInvariant();
        var (platform, name) =
            OperatingSystem.IsWindows() ? ("win", unmanagedDllName + ".dll")
            : OperatingSystem.IsMacOS() ? ("osx", $"lib{unmanagedDllName}.dylib")
            : RuntimeInformation.RuntimeIdentifier.Contains("musl", StringComparison.Ordinal)
            || RuntimeInformation.RuntimeIdentifier.StartsWith("alpine", StringComparison.Ordinal)
                ? ("linux-musl", $"lib{unmanagedDllName}.so")
            : ("linux", $"lib{unmanagedDllName}.so");
        var path = Path.Combine(_folders[0], "runtimes", $"{platform}-{architecture}", "native", name);
        return File.Exists(path) ? LoadUnmanagedDllFromPath(path) : 0;
    }

    private string? Find(AssemblyName name) =>
        _folders.Select(f => Path.Combine(f, name.Name + ".dll")).FirstOrDefault(File.Exists);
}
