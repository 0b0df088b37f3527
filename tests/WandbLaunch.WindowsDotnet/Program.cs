using System.Reflection;
using System.Runtime.Loader;

// dotnet.exe is in no package. This one does what tests need of it: dotnet.exe PROGRAM.dll [WORDS], in this process.
if (args is not [var path, ..] || !File.Exists(path))
{
    Console.Error.WriteLine("usage: dotnet PROGRAM.dll [WORDS]");
    return 2;
}

path = Path.GetFullPath(path);
AppContext.SetData("APP_CONTEXT_BASE_DIRECTORY", Path.GetDirectoryName(path) + Path.DirectorySeparatorChar);
var resolver = new AssemblyDependencyResolver(path);
AssemblyLoadContext.Default.Resolving += (context, name) =>
    resolver.ResolveAssemblyToPath(name) is { } found ? context.LoadFromAssemblyPath(found) : null;
AssemblyLoadContext.Default.ResolvingUnmanagedDll += (_, name) =>
    resolver.ResolveUnmanagedDllToPath(name) is { } found
        ? System.Runtime.InteropServices.NativeLibrary.Load(found)
        : 0;
var program = AssemblyLoadContext.Default.LoadFromAssemblyPath(path);
Assembly.SetEntryAssembly(program);
var answer = program.EntryPoint!.Invoke(
    null,
    BindingFlags.DoNotWrapExceptions,
    null,
    program.EntryPoint.GetParameters().Length == 0 ? null : [args[1..]],
    null
);
return answer as int? ?? 0;
