using System.Reflection;

namespace WandbLaunch.Host;

/// <summary>Runs the local server in this process, on a runtime that has no ASP.NET Core: with the parts of it that the module brings.</summary>
internal static class ServerEntry
{
    internal static int Run(string assembly, string[] arguments)
    {
        var folder = Path.GetDirectoryName(assembly)!;
        var libraries = new LibraryContext(folder, Path.Combine(folder, "aspnetcore"));
        return (int)
            libraries
                .LoadFromAssemblyPath(assembly)
                .EntryPoint!.Invoke(null, BindingFlags.DoNotWrapExceptions, null, [arguments], null)!;
    }
}
