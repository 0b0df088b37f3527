using System.Management.Automation;
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
                name.Name == "WandbLaunch.Core" ? Libraries.Context.LoadFromAssemblyName(name) : null;
        }
    }

    // A class of its own: made when Core is first asked for.
    private static class Libraries
    {
        internal static readonly LibraryContext Context = new(
            Path.Combine(Path.GetDirectoryName(typeof(Libraries).Assembly.Location)!, "lib")
        );
    }
}
