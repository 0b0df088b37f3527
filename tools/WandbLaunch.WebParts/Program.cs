using Mono.Cecil;

// What the server needs of ASP.NET Core, for machines whose only .NET is the one inside pwsh: SERVER-FOLDER PACK-FOLDER OUTPUT.
// The pack's assemblies are compiled ahead for one platform, and another would refuse them; what is written is their IL alone.
if (args is not [var server, var pack, var output])
{
    Console.Error.WriteLine("usage: WandbLaunch.WebParts SERVER-FOLDER PACK-FOLDER OUTPUT");
    return 2;
}

var needed = new SortedDictionary<string, string>(StringComparer.Ordinal);
var open = new Queue<string>(Directory.GetFiles(server, "*.dll"));
while (open.TryDequeue(out var file))
{
    using var assembly = AssemblyDefinition.ReadAssembly(file);
    foreach (var reference in assembly.MainModule.AssemblyReferences)
    {
        var path = Path.Combine(pack, reference.Name + ".dll");
        if (File.Exists(path) && needed.TryAdd(reference.Name, path))
        {
            open.Enqueue(path);
        }
    }
}

if (needed.Count == 0)
{
    Console.Error.WriteLine($"error : The server needs nothing of {pack}. Is it the pack's folder of assemblies?");
    return 1;
}

if (Directory.Exists(output))
{
    Directory.Delete(output, true);
}

Directory.CreateDirectory(output);
foreach (var (name, path) in needed)
{
    using var assembly = AssemblyDefinition.ReadAssembly(path);
    var module = assembly.MainModule;

    // Cecil knows no name for "compiled ahead" (COMIMAGE_FLAGS_IL_LIBRARY).
    module.Attributes = (module.Attributes & ~(ModuleAttributes)4) | ModuleAttributes.ILOnly;
    module.Architecture = TargetArchitecture.I386;
    assembly.Write(
        Path.Combine(output, name + ".dll"),
        new WriterParameters { DeterministicMvid = true, Timestamp = 0 }
    );
}

return 0;
