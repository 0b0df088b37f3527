using System.Text;

namespace WandbLaunch.Foundation;

/// <summary>One entry of a folder's tree: its path with <c>/</c>, and where it points when it is a link.</summary>
internal sealed record FolderEntry(string Path, EntryKind Kind, string? Target)
{
    internal string Name => Path[(Path.LastIndexOf('/') + 1)..];
}

/// <summary>
/// A folder whose content others chose. All that is read or written in it goes through here: the operating system
/// follows no link. Links are read and resolved by this class alone, from the folder's root, and never leave it; so
/// neither a chain of links nor one that is swapped in the middle can reach anything else.
/// </summary>
internal sealed class SafeFolder : IDisposable
{
    private const int MostLinks = 16;

    private readonly FolderHandle _root;

    private SafeFolder(string path) => (FullPath, _root) = (Path.GetFullPath(path), FolderHandle.Open(path));

    /// <summary>Where the folder is.</summary>
    internal string FullPath { get; }

    /// <summary>Opens a folder; its own path is trusted.</summary>
    internal static SafeFolder Open(string path) => new(path);

    /// <summary>Makes the folder where it is missing, and opens it.</summary>
    internal static SafeFolder Make(string path) => new(Path.GetFullPath(FileModes.CreatePrivateFolder(path)));

    /// <summary>What a path is, once the folder's own links are resolved.</summary>
    /// <exception cref="LaunchException"><c>PathOutside</c> where it leaves.</exception>
    internal EntryKind Kind(string path, string what)
    {
        var parts = Resolve(path, what);
        return parts.Length == 0 ? EntryKind.Folder : KindAt(parts);
    }

    internal bool FileExists(string path, string what) => Kind(path, what) == EntryKind.File;

    /// <summary>The path without links in it, from the folder's root.</summary>
    internal string RealPath(string path, string what) => string.Join('/', Resolve(path, what));

    /// <summary>A file that is read whole, and is more than that.</summary>
    internal static LaunchException TooLarge(string name, long limit) =>
        new(
            "FileTooLarge",
            LaunchErrorCategory.InvalidData,
            $"{name} is larger than the {limit / (1024 * 1024)} MB that are taken. Commit the change and launch with -GitVersion instead.",
            name
        );

    /// <summary>Opens a file, or gives null when there is none.</summary>
    internal FileStream? OpenRead(string path, string what)
    {
        var parts = Resolve(path, what);
        if (parts.Length == 0 || KindAt(parts) is not EntryKind.File)
        {
            return null;
        }

        try
        {
            return In(parts, (folder, name) => folder.OpenRead(name));
        }
        catch (FileNotFoundException)
        {
            return null;
        }
    }

    /// <summary>The content of a file, or null when there is none. A larger one is an error.</summary>
    internal byte[]? ReadAllBytes(string path, string what, long limit)
    {
        using var stream = OpenRead(path, what);
        if (stream is null)
        {
            return null;
        }

        var content = new MemoryStream();
        var block = new byte[1 << 16];
        int read;
        while ((read = stream.Read(block)) > 0)
        {
            content.Write(block, 0, read);
            if (content.Length > limit)
            {
                throw TooLarge(path, limit);
            }
        }

        return content.ToArray();
    }

    /// <summary>The text of a file, by its byte order mark or as UTF-8, or null when there is none.</summary>
    internal string? ReadText(string path, string what, long limit)
    {
        if (ReadAllBytes(path, what, limit) is not { } content)
        {
            return null;
        }

        using var reader = new StreamReader(new MemoryStream(content), Encoding.UTF8, true);
        return reader.ReadToEnd();
    }

    /// <summary>Makes a file and the folders above it. A link on the way is an error, and so is anything of this name.</summary>
    internal FileStream Create(string path, string what, bool executable = false) =>
        Write(path, what, (folder, name) => folder.Create(name, executable));

    /// <summary>As <see cref="Create"/>; a file or link of this name is removed first, and what it leads to is left alone.</summary>
    internal FileStream Replace(string path, string what) =>
        Write(
            path,
            what,
            (folder, name) =>
            {
                if (folder.Kind(name) is EntryKind.File or EntryKind.Link or EntryKind.Other)
                {
                    folder.Delete(name);
                }

                return folder.Create(name, false);
            }
        );

    internal void CreateFolder(string path, string what) =>
        Write(
            path,
            what,
            (folder, name) =>
            {
                if (folder.Kind(name) != EntryKind.Folder)
                {
                    folder.CreateFolder(name);
                }

                return true;
            }
        );

    internal void CreateLink(string path, string target, string what, bool toFolder = false) =>
        Write(
            path,
            what,
            (folder, name) =>
            {
                folder.CreateLink(name, target, toFolder);
                return true;
            }
        );

    /// <summary>Opens a file by its very path: no link is followed, not even one that stays inside.</summary>
    internal FileStream OpenExactly(string path) => In(path.Split('/'), (folder, name) => folder.OpenRead(name));

    /// <summary>Everything below, folders before their content, in order. No link is followed.</summary>
    /// <param name="enter">Says whether an entry counts; a folder that does not is not walked.</param>
    internal IEnumerable<FolderEntry> Entries(Func<FolderEntry, bool>? enter = null)
    {
        var waiting = new Stack<string>([""]);
        while (waiting.TryPop(out var at))
        {
            // The names come by the path, and what each of them is from the folder that is held: a name of another
            // folder, which was put there in between, is not found in this one.
            foreach (var name in Names(at))
            {
                var path = at.Length == 0 ? name : at + "/" + name;
                if (Look(path) is not { } entry || (enter is not null && !enter(entry)))
                {
                    continue;
                }

                yield return entry;
                if (entry.Kind == EntryKind.Folder)
                {
                    SafePath.CheckDepth(path);
                    waiting.Push(path);
                }
            }
        }
    }

    public void Dispose() => _root.Dispose();

    private string[] Names(string at)
    {
        try
        {
            var names = Directory
                .EnumerateFileSystemEntries(
                    Path.Combine(FullPath, at),
                    "*",
                    new EnumerationOptions { AttributesToSkip = 0, IgnoreInaccessible = false }
                )
                .Select(p => Path.GetFileName(p))
                .ToArray();
            Array.Sort(names, StringComparer.Ordinal);
            return names;
        }
        catch (DirectoryNotFoundException)
        {
            return [];
        }
    }

    private FolderEntry? Look(string path)
    {
        try
        {
            return In<FolderEntry?>(
                path.Split('/'),
                (folder, name) =>
                    folder.Kind(name) switch
                    {
                        EntryKind.Missing => null,
                        EntryKind.Link => new FolderEntry(path, EntryKind.Link, folder.ReadLink(name)),
                        var kind => new FolderEntry(path, kind, null),
                    }
            );
        }
        catch (FileNotFoundException)
        {
            return null;
        }
    }

    // The parts without links. A part that is missing is left as it is, and so is what follows it.
    private string[] Resolve(string path, string what)
    {
        if (SafePath.Fault(path) is { } fault)
        {
            throw Outside(path, what, fault);
        }

        var pending = new Stack<string>(Enumerable.Reverse(path.Split('/', '\\')));
        var real = new List<string>();
        var links = 0;
        while (pending.TryPop(out var part))
        {
            if (part is "" or ".")
            {
                continue;
            }

            if (part == "..")
            {
                if (real.Count == 0)
                {
                    throw Outside(path, what, "a symbolic link in it leads out of the folder");
                }

                real.RemoveAt(real.Count - 1);
                continue;
            }

            real.Add(part);
            if (KindAt(real) != EntryKind.Link)
            {
                continue;
            }

            var target = In(real, (folder, name) => folder.ReadLink(name));
            real.RemoveAt(real.Count - 1);
            target = OperatingSystem.IsWindows() ? target.Replace('\\', '/') : target;
            if (++links > MostLinks || SafePath.TargetFault(target) is not null)
            {
                throw Outside(path, what, "a symbolic link in it leads out of the folder");
            }

            foreach (var next in Enumerable.Reverse(target.Split('/')))
            {
                pending.Push(next);
            }
        }

        return [.. real];
    }

    private EntryKind KindAt(IReadOnlyList<string> parts)
    {
        var folder = _root;
        try
        {
            for (var i = 0; i < parts.Count - 1; i++)
            {
                if (folder.Kind(parts[i]) != EntryKind.Folder)
                {
                    return EntryKind.Missing;
                }

                folder = Step(folder, parts[i]);
            }

            return folder.Kind(parts[^1]);
        }
        catch (FileNotFoundException)
        {
            return EntryKind.Missing;
        }
        finally
        {
            Release(folder);
        }
    }

    private T In<T>(IReadOnlyList<string> parts, Func<FolderHandle, string, T> act)
    {
        var folder = _root;
        try
        {
            for (var i = 0; i < parts.Count - 1; i++)
            {
                folder = Step(folder, parts[i]);
            }

            return act(folder, parts[^1]);
        }
        finally
        {
            Release(folder);
        }
    }

    private T Write<T>(string path, string what, Func<FolderHandle, string, T> act)
    {
        if (SafePath.Fault(path) is { } fault)
        {
            throw Outside(path, what, fault);
        }

        SafePath.CheckDepth(path);
        string[] parts = [.. path.Split('/', '\\').Where(p => p is not ("" or "."))];
        if (parts.Length == 0)
        {
            throw Outside(path, what, "it names no file");
        }

        var folder = _root;
        try
        {
            for (var i = 0; i < parts.Length - 1; i++)
            {
                switch (folder.Kind(parts[i]))
                {
                    case EntryKind.Missing:
                        folder.CreateFolder(parts[i]);
                        break;
                    case EntryKind.Folder:
                        break;
                    case EntryKind.Link:
                        throw Outside(
                            path,
                            what,
                            $"'{string.Join('/', parts[..(i + 1)])}' is a symbolic link, and nothing is written through one"
                        );
                    default:
                        throw Outside(path, what, $"'{string.Join('/', parts[..(i + 1)])}' is no folder");
                }

                folder = Step(folder, parts[i]);
            }

            return act(folder, parts[^1]);
        }
        finally
        {
            Release(folder);
        }
    }

    private FolderHandle Step(FolderHandle folder, string name)
    {
        var child = folder.Child(name);
        if (OperatingSystem.IsWindows())
        {
            // There a path is used once more, so all of it stays held.
            return new Held(child, folder, _root);
        }

        Release(folder);
        return child;
    }

    private void Release(FolderHandle folder)
    {
        if (!ReferenceEquals(folder, _root))
        {
            folder.Dispose();
        }
    }

    private static LaunchException Outside(string path, string what, string why) =>
        new(
            "PathOutside",
            LaunchErrorCategory.SecurityError,
            $"The {what} '{SafePath.Show(path)}' is refused: {why}. Give a path relative to the source folder.",
            path
        );

    private sealed class Held(FolderHandle inner, FolderHandle above, FolderHandle root) : FolderHandle
    {
        internal override EntryKind Kind(string name) => inner.Kind(name);

        internal override FolderHandle Child(string name) => inner.Child(name);

        internal override string ReadLink(string name) => inner.ReadLink(name);

        internal override FileStream OpenRead(string name) => inner.OpenRead(name);

        internal override FileStream Create(string name, bool executable) => inner.Create(name, executable);

        internal override void CreateFolder(string name) => inner.CreateFolder(name);

        internal override void CreateLink(string name, string target, bool toFolder) =>
            inner.CreateLink(name, target, toFolder);

        internal override void Delete(string name) => inner.Delete(name);

        public override void Dispose()
        {
            inner.Dispose();
            if (!ReferenceEquals(above, root))
            {
                above.Dispose();
            }
        }
    }
}
