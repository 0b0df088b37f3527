using System.Management.Automation;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Runtime.Loader;

namespace WandbLaunch.PowerShell;

/// <summary>Registers the resolver of the module's own libraries. Nothing is loaded before it is used.</summary>
public sealed class ModuleAssemblyInitializer : IModuleAssemblyInitializer
{
    private static int _registered;

    /// <inheritdoc/>
    public void OnImport()
    {
        // Once for the process: the assembly stays loaded when the module is removed, and so does the resolver.
        if (Interlocked.Exchange(ref _registered, 1) == 0)
        {
            AssemblyLoadContext.Default.Resolving += static (_, name) =>
                name.Name == "WandbLaunch.Core" ? LibraryContext.Instance.LoadFromAssemblyName(name) : null;
        }
    }

    /// <summary>Core and all dependencies, apart from what the session or other modules have loaded.</summary>
    private sealed class LibraryContext : AssemblyLoadContext
    {
        internal static readonly LibraryContext Instance = new();

        private readonly string _folder = Path.Combine(
            Path.GetDirectoryName(typeof(LibraryContext).Assembly.Location)!,
            "lib"
        );

        private LibraryContext()
            : base("WandbLaunch") { }

        protected override Assembly? Load(AssemblyName assemblyName)
        {
            var path = Path.Combine(_folder, assemblyName.Name + ".dll");
            return File.Exists(path) ? LoadFromAssemblyPath(path) : null;
        }

        protected override IntPtr LoadUnmanagedDll(string unmanagedDllName)
        {
            var architecture = RuntimeInformation.ProcessArchitecture.ToString().ToLowerInvariant();
            string[] platforms =
                OperatingSystem.IsWindows() ? ["win"]
                : OperatingSystem.IsMacOS() ? ["osx"]
                : RuntimeInformation.RuntimeIdentifier.Contains("musl", StringComparison.Ordinal)
                || RuntimeInformation.RuntimeIdentifier.StartsWith("alpine", StringComparison.Ordinal)
                    ? ["linux-musl"]
                : ["linux"];
            string[] names =
                OperatingSystem.IsWindows() ? [unmanagedDllName + ".dll"]
                : OperatingSystem.IsMacOS() ? [$"lib{unmanagedDllName}.dylib"]
                : [$"lib{unmanagedDllName}.so"];
            foreach (
                var path in platforms.SelectMany(p =>
                    names.Select(n => Path.Combine(_folder, "runtimes", $"{p}-{architecture}", "native", n))
                )
            )
            {
                if (File.Exists(path))
                {
                    return LoadUnmanagedDllFromPath(path);
                }
            }

            return 0;
        }
    }
}
